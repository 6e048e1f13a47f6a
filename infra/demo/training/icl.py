"""Few-shot items for the evaluation: plain text with examples, read by likelihood over candidates.

No chat tokens appear here. Training draws the same kinds of text, but never an item of this module.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from infra.demo.training.words import (
    CATEGORIES,
    CATEGORY_NAMES,
    DIGITS,
    LOWER,
    TRANSFORMATION_NAMES,
    TRANSFORMATIONS,
    UPPER,
    WORDS,
    Listing,
    draw_keys,
    pseudo_word,
)

# The transformations whose results can be corrupted by swapping two letters.
EXECUTED = ["copy", "reverse", "upper", "sort", "double", "drop"]
CANDIDATES = 4
CORRUPTION_TRIES = 50


class IclItem(NamedTuple):
    """A prompt, the continuations that compete, and which of them is right."""

    prompt: str
    candidates: list[str]
    gold: int


def icl_item(rng: Random, task: str) -> IclItem:
    """Draw a few-shot item of `task`, a name in `ICL_TASKS`."""
    return ICL_TASKS[task](rng, Listing.draw(rng))


def _mapping(rng: Random, listing: Listing) -> IclItem:
    """Ask for an arbitrary label of a key that the examples show."""
    count = CANDIDATES
    keys = draw_keys(rng, count)
    labels = rng.sample(UPPER, count)
    order = [*range(count), *(rng.randrange(count) for _ in range(4))]
    rng.shuffle(order)
    gold = rng.randrange(count)
    return IclItem(listing.question([(keys[i], labels[i]) for i in order], keys[gold]), labels, gold)


def _category(rng: Random, listing: Listing) -> IclItem:
    """Ask for the arbitrary label of a word's class; the word is not among the examples."""
    classes, shown_per_class = 2, 5
    categories = rng.sample(CATEGORY_NAMES, classes)
    labels = rng.sample(UPPER, classes)
    words = [rng.sample(CATEGORIES[category], shown_per_class + 1) for category in categories]
    order = [(i, j) for i in range(classes) for j in range(shown_per_class)]
    rng.shuffle(order)
    gold = rng.randrange(classes)
    return IclItem(listing.question([(words[i][j], labels[i]) for i, j in order], words[gold][-1]), labels, gold)


def _inference(rng: Random, listing: Listing) -> IclItem:
    """Ask which transformation the examples show; the others' results for the same word compete."""
    while True:
        name = rng.choice(TRANSFORMATION_NAMES)
        words, query = _words_and_query(rng, 3, 5)
        others = rng.sample(TRANSFORMATION_NAMES, len(TRANSFORMATION_NAMES))
        results = [TRANSFORMATIONS[transformation](query) for transformation in (name, *others)]
        candidates = list(dict.fromkeys(results))[:CANDIDATES]
        if len(candidates) == CANDIDATES:
            return _transformation_item(rng, listing, name, (words, query), candidates)


def _execution(rng: Random, listing: Listing) -> IclItem:
    """Ask for a transformation's result; corruptions of the right result compete."""
    while True:
        name = rng.choice(EXECUTED)
        words, query = _words_and_query(rng, 4, 5)
        if len(query) < 4:
            continue
        candidates = _with_corruptions(rng, TRANSFORMATIONS[name](query))
        if len(candidates) == CANDIDATES:
            return _transformation_item(rng, listing, name, (words, query), candidates)


def _pattern(rng: Random, _: Listing) -> IclItem:
    """Ask for the next symbol of a pattern of four; its other symbols compete."""
    period = CANDIDATES
    pattern = rng.sample(LOWER + UPPER + DIGITS, period)
    joint = rng.choice(["", " ", ", "])
    length = rng.randint(9, 14)
    return IclItem(joint.join(pattern[i % period] for i in range(length)) + joint, pattern, length % period)


def _words_and_query(rng: Random, shortest: int, longest: int) -> tuple[list[str], str]:
    words = rng.sample(WORDS, 3) + [pseudo_word(rng, shortest, longest) for _ in range(3)]
    rng.shuffle(words)
    return words[:-1], words[-1]


def _with_corruptions(rng: Random, right: str) -> list[str]:
    candidates = [right]
    for swapped in _swaps(rng, right):
        if swapped not in candidates:
            candidates.append(swapped)
        if len(candidates) == CANDIDATES:
            break
    return candidates


def _swaps(rng: Random, right: str) -> Iterator[str]:
    for _ in range(CORRUPTION_TRIES):
        letters = list(right)
        i, j = rng.sample(range(len(letters)), 2)
        letters[i], letters[j] = letters[j], letters[i]
        yield "".join(letters)


def _transformation_item(
    rng: Random, listing: Listing, name: str, examples: tuple[list[str], str], candidates: list[str]
) -> IclItem:
    """Shuffle the candidates, of which the first is right, and write the prompt."""
    words, query = examples
    order = list(range(CANDIDATES))
    rng.shuffle(order)
    prompt = listing.question([(word, TRANSFORMATIONS[name](word)) for word in words], query)
    return IclItem(prompt, [candidates[i] for i in order], order.index(0))


ICL_TASKS: dict[str, Callable[[Random, Listing], IclItem]] = {
    "mapping": _mapping,
    "category": _category,
    "inference": _inference,
    "execution": _execution,
    "pattern": _pattern,
}
