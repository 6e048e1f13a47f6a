"""The word classes, transformations and listing styles that training text and evaluation items share.

Order is part of the recipe: items are drawn by position, so a word moved within its class changes every stream.
"""

import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

LOWER = string.ascii_lowercase
UPPER = string.ascii_uppercase
DIGITS = string.digits
CONSONANTS = "bcdfghjklmnprstvwz"
VOWELS = "aeiou"

CATEGORIES: dict[str, list[str]] = {
    category: words.split()
    for category, words in {
        "animal": (
            "cat dog cow pig hen fox owl bear wolf deer frog duck goat lion mouse horse sheep tiger snake "
            "camel whale otter eagle zebra"
        ),
        "color": (
            "red blue pink gray gold teal cyan navy green black white brown amber beige coral olive purple "
            "yellow orange violet indigo maroon silver scarlet"
        ),
        "food": (
            "pie ham egg jam rice soup cake corn plum pear bean meat bread apple grape lemon mango onion "
            "pasta pizza salad honey peach cheese"
        ),
        "tool": (
            "saw axe nail rake drill spade wrench hammer shovel pliers ladder chisel clamp lever screw knife "
            "brush broom ruler needle anvil crane bucket sickle"
        ),
        "body": (
            "arm leg toe eye ear lip chin knee neck nose foot hand back hair skin bone thumb elbow wrist "
            "ankle brain heart finger shoulder"
        ),
        "place": (
            "inn zoo spa park city town farm cafe bank mall beach hotel school museum church castle harbor "
            "market office prison temple garden palace stadium"
        ),
    }.items()
}
CATEGORY_NAMES = list(CATEGORIES)
WORDS = [word for words in CATEGORIES.values() for word in words]
CATEGORY_OF = {word: category for category, words in CATEGORIES.items() for word in words}

TRANSFORMATIONS: dict[str, Callable[[str], str]] = {
    "copy": lambda word: word,
    "reverse": lambda word: word[::-1],
    "upper": str.upper,
    "first": lambda word: word[0],
    "last": lambda word: word[-1],
    "length": lambda word: str(len(word)),
    "sort": lambda word: "".join(sorted(word)),
    "double": lambda word: word + word,
    "drop": lambda word: word[1:],
}
TRANSFORMATION_NAMES = list(TRANSFORMATIONS)

SEPARATORS = [" -> ", ": ", " = ", " => ", ">", "=", " : ", " | "]
# The line feed stands twice because it is to be drawn twice as often.
LINE_BREAKS = ["\n", "\n", "; ", ", "]


def pseudo_word(rng: Random, shortest: int = 3, longest: int = 5) -> str:
    """Draw a pronounceable non-word of alternating consonants and vowels."""
    length = rng.randint(shortest, longest)
    consonant_first = rng.random() < 0.5
    return "".join(rng.choice(CONSONANTS if (i % 2 == 0) == consonant_first else VOWELS) for i in range(length))


def word_or_pseudo_word(rng: Random) -> str:
    """Draw a word of one of the classes or, as often, a non-word."""
    return rng.choice(WORDS) if rng.random() < 0.5 else pseudo_word(rng)


def draw_keys(rng: Random, count: int) -> list[str]:
    """Draw up to `count` distinct keys of one kind: letters, digits, letter pairs, words or non-words.

    Fewer come back only when letter pairs repeat in nearly all of 3 x `count` draws.
    """
    kind = rng.randrange(5)
    if kind == 2:
        pairs = (rng.choice(LOWER) + rng.choice(LOWER) for _ in range(3 * count))
        return list(dict.fromkeys(pairs))[:count]
    if kind == 4:
        return _distinct_pseudo_words(rng, count, 2, 4)
    pools: dict[int, Sequence[str]] = {0: LOWER, 1: DIGITS, 3: WORDS}
    return rng.sample(pools[kind], count)


def draw_values(rng: Random, count: int) -> list[str]:
    """Draw `count` distinct values of one kind: capitals, digits, small letters or short non-words."""
    kind = rng.randrange(4)
    if kind == 3:
        return _distinct_pseudo_words(rng, count, 2, 3)
    return rng.sample((UPPER, DIGITS, LOWER)[kind], count)


def _distinct_pseudo_words(rng: Random, count: int, shortest: int, longest: int) -> list[str]:
    # A dict and not a set: a set of strings has another order in every process, and the shuffle starts from it.
    found: dict[str, None] = {}
    while len(found) < count:
        found[pseudo_word(rng, shortest, longest)] = None
    return sorted(found, key=lambda _: rng.random())


@dataclass(frozen=True)
class Listing:
    """How key and value pairs are written: what stands between the two, and between the rows."""

    separator: str
    line_break: str

    @classmethod
    def draw(cls, rng: Random) -> "Listing":
        """Draw the separator, then the line break."""
        return cls(rng.choice(SEPARATORS), rng.choice(LINE_BREAKS))

    def rows(self, pairs: Iterable[tuple[str, str]]) -> str:
        """Write complete rows."""
        return self.line_break.join(f"{key}{self.separator}{value}" for key, value in pairs)

    def question(self, pairs: Iterable[tuple[str, str]], key: str) -> str:
        """Write complete rows and a last one whose value is missing."""
        return f"{self.rows(pairs)}{self.line_break}{key}{self.separator}"
