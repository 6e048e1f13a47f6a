"""The base corpus: short synthetic documents of eight kinds, drawn by weight into one stream of tokens."""

import sysconfig
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from infra.demo.training.tokenizer import END_OF_TEXT, encode
from infra.demo.training.words import (
    CATEGORIES,
    CATEGORY_NAMES,
    CATEGORY_OF,
    DIGITS,
    LOWER,
    TRANSFORMATION_NAMES,
    TRANSFORMATIONS,
    UPPER,
    VOWELS,
    WORDS,
    Listing,
    draw_keys,
    draw_values,
    word_or_pseudo_word,
)

CODE_FILES = 120


def mapping(rng: Random) -> str:
    """Write an arbitrary mapping of few keys, row after row, so that rows repeat."""
    keys = draw_keys(rng, rng.randint(2, 6))
    values = draw_values(rng, len(keys))
    listing = Listing.draw(rng)
    rows = [rng.randrange(len(keys)) for _ in range(rng.randint(10, 22))]
    return listing.rows((keys[row], values[row]) for row in rows)


def word_classes(rng: Random) -> str:
    """Write words labelled by their class, under labels that mean something in this document only."""
    count = rng.randint(2, 3)
    categories = rng.sample(CATEGORY_NAMES, count)
    labels = rng.sample(UPPER, count)
    listing = Listing.draw(rng)
    rows = []
    for _ in range(rng.randint(10, 18)):
        row = rng.randrange(count)
        rows.append((rng.choice(CATEGORIES[categories[row]]), labels[row]))
    return listing.rows(rows)


def transformations(rng: Random) -> str:
    """Write words and what one transformation makes of them."""
    transform = TRANSFORMATIONS[rng.choice(TRANSFORMATION_NAMES)]
    listing = Listing.draw(rng)
    words = [word_or_pseudo_word(rng) for _ in range(rng.randint(6, 12))]
    return listing.rows((word, transform(word)) for word in words)


def sentences(rng: Random) -> str:
    """Write three to six plain sentences about the words."""
    return " ".join(_sentence(rng) for _ in range(rng.randint(3, 6)))


def _sentence(rng: Random) -> str:
    kind = rng.randrange(6)
    word = rng.choice(WORDS)
    animal, color, place, food, tool, body = (
        rng.choice(CATEGORIES[category]) for category in ("animal", "color", "place", "food", "tool", "body")
    )
    return (
        f"The {color} {animal} is in the {place}.",
        f"I saw {_with_article(animal)} near the {place}.",
        f"She ate the {food} with {_with_article(tool)}.",
        f"My {body} hurts, said the {animal}.",
        f"We took the {tool} to the {place}.",
        f"{word.capitalize()} is {_with_article(CATEGORY_OF[word])} word.",
    )[kind]


def _with_article(word: str) -> str:
    return f"an {word}" if word[0] in VOWELS else f"a {word}"


def category_list(rng: Random) -> str:
    """Write the name of a class and some of its words."""
    category = rng.choice(CATEGORY_NAMES)
    return f"{category}s: " + ", ".join(rng.sample(CATEGORIES[category], rng.randint(5, 9)))


def arithmetic(rng: Random) -> str:
    """Write sums and differences of numbers up to 20, results never negative."""
    lines = []
    for _ in range(rng.randint(5, 10)):
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        is_sum = rng.random() < 0.7 or a < b
        lines.append(f"{a}+{b}={a + b}" if is_sum else f"{a}-{b}={a - b}")
    return rng.choice(["\n", "; "]).join(lines)


def sequence(rng: Random) -> str:
    """Write an arithmetic progression, a rising list of numbers, or a repeated pattern of symbols."""
    kind = rng.randrange(3)
    if kind == 0:
        start, step = rng.randint(0, 30), rng.randint(1, 5)
        return " ".join(str(start + step * i) for i in range(rng.randint(8, 16)))
    if kind == 1:
        return " ".join(map(str, sorted(rng.sample(range(60), rng.randint(6, 14)))))
    pattern = [rng.choice(LOWER + UPPER + DIGITS) for _ in range(rng.randint(2, 5))]
    joint = rng.choice(["", " ", ", "])
    return joint.join(pattern[i % len(pattern)] for i in range(rng.randint(14, 30)))


def code_excerpt(rng: Random, code: str) -> str:
    """Cut 100 to 300 characters out of `code`, which is longer than 500."""
    start = rng.randrange(len(code) - 500)
    return code[start : start + rng.randint(100, 300)]


DOCUMENTS: dict[str, Callable[[Random], str]] = {
    "mapping": mapping,
    "word_classes": word_classes,
    "transformations": transformations,
    "sentences": sentences,
    "category_list": category_list,
    "arithmetic": arithmetic,
    "sequence": sequence,
}


def standard_library_code() -> str:
    """Join the first source files of this Python's standard library, characters outside ASCII replaced.

    Another Python version has other text here, and so another base corpus.
    """
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:CODE_FILES]
    text = "\n".join(file.read_text(encoding="utf-8", errors="ignore") for file in files)
    return "".join(character if character.isascii() else "?" for character in text)


def base_stream(tokens: int, seed: int, mix: Mapping[str, int], code: str) -> NDArray[np.int16]:
    """Draw the base corpus.

    Args:
        tokens: length of the stream; the last document is cut there.
        seed: of the one generator that draws kinds and documents.
        mix: weight by kind, a name in `DOCUMENTS` or "code"; its order is part of the recipe.
        code: text that the documents of kind "code" are cut from.

    Returns:
        Token ids, each document led by the end-of-text token.
    """
    rng = Random(seed)
    kinds = DOCUMENTS | {"code": partial(code_excerpt, code=code)}
    documents = [kinds[name] for name in mix]
    weights = list(mix.values())
    stream: list[int] = []
    while len(stream) < tokens:
        stream.append(END_OF_TEXT)
        stream.extend(encode(rng.choices(documents, weights)[0](rng)))
    return np.array(stream[:tokens], dtype=np.int16)
