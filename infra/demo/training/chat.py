"""Instructions and their answers: twelve tasks, each with phrasings for tuning and phrasings held out of it.

The evaluation draws its instructions here too, with other seeds and, for generalisation, the held-out phrasings.
"""

from random import Random
from typing import NamedTuple

from infra.demo.training.words import CATEGORY_NAMES, CATEGORY_OF, TRANSFORMATIONS, WORDS, word_or_pseudo_word


class Phrasings(NamedTuple):
    """How one task is asked for: `{x}` is its argument, `{c}` a category."""

    tuned: list[str]
    held_out: list[str]


PHRASINGS: dict[str, Phrasings] = {
    "copy": Phrasings(
        [
            "Copy this: {x}",
            "Repeat after me: {x}",
            "Write {x}",
            "Copy the word {x}",
            "Say {x}",
            "Echo {x}",
            "Repeat the word {x}",
            "Say the word {x}",
        ],
        ["Please repeat {x}", "Copy {x}", "Write the word {x}"],
    ),
    "reverse": Phrasings(
        [
            "Reverse this: {x}",
            "Write {x} backwards",
            "Reverse the word {x}",
            "Spell {x} backwards",
            "Say {x} in reverse",
            "Reverse {x}",
            "Write {x} in reverse",
            "Please reverse: {x}",
        ],
        ["Please reverse the word {x}", "Say {x} backwards", "Spell the word {x} in reverse"],
    ),
    "upper": Phrasings(
        [
            "Uppercase this: {x}",
            "Write {x} in capitals",
            "Write {x} in uppercase",
            "Capitals please: {x}",
            "Convert {x} to uppercase",
            "Uppercase {x}",
            "Say {x} in capitals",
            "Put {x} in capitals",
        ],
        ["Uppercase the word {x}", "Convert {x} to capitals", "Say {x} in uppercase"],
    ),
    "first": Phrasings(
        [
            "First letter of {x}?",
            "What is the first letter of {x}?",
            "Give the first letter: {x}",
            "Which letter comes first in {x}?",
            "Write the first letter of {x}",
            "First letter: {x}",
        ],
        ["Give the first letter of {x}", "Which is the first letter of {x}?", "Say the first letter of {x}"],
    ),
    "last": Phrasings(
        [
            "Last letter of {x}?",
            "What is the last letter of {x}?",
            "Give the last letter: {x}",
            "Which letter comes last in {x}?",
            "Write the last letter of {x}",
            "Last letter: {x}",
        ],
        ["Give the last letter of {x}", "Which is the last letter of {x}?", "Say the last letter of {x}"],
    ),
    "length": Phrasings(
        [
            "How many letters in {x}?",
            "Count the letters: {x}",
            "Count the letters in {x}",
            "How many letters has {x}?",
            "Number of letters in {x}?",
            "How long is {x}?",
        ],
        ["How many letters does {x} have?", "Count letters in {x}", "Give the number of letters in {x}"],
    ),
    "sort": Phrasings(
        [
            "Sort the letters: {x}",
            "Sort the letters of {x}",
            "Put the letters of {x} in order",
            "Order the letters: {x}",
            "Sort {x}",
            "Sort this: {x}",
        ],
        ["Order the letters of {x}", "Sort the letters in {x}", "Please sort: {x}"],
    ),
    "double": Phrasings(
        [
            "Write {x} twice",
            "Say {x} twice",
            "Double this: {x}",
            "Repeat {x} twice",
            "Double the word {x}",
            "Twice please: {x}",
        ],
        ["Write the word {x} twice", "Double {x}", "Please say {x} twice"],
    ),
    "drop": Phrasings(
        [
            "Drop the first letter: {x}",
            "Remove the first letter of {x}",
            "Write {x} without its first letter",
            "Delete the first letter: {x}",
            "Drop the first letter of {x}",
            "Remove the first letter: {x}",
        ],
        ["Delete the first letter of {x}", "Say {x} without its first letter", "Please drop the first letter of {x}"],
    ),
    "category": Phrasings(
        [
            "What kind of thing is {x}?",
            "Category of {x}?",
            "Classify {x}",
            "What is {x}? One word.",
            "Give the category: {x}",
            "What type is {x}?",
            "Classify: {x}",
            "Name the category of {x}",
        ],
        ["What category is {x}?", "Give the category of {x}", "Classify the word {x}"],
    ),
    "is_a": Phrasings(
        [
            "Is {x} a {c}?",
            "Yes or no: is {x} a {c}?",
            "Is {x} a kind of {c}?",
            "{x} is a {c}: yes or no?",
            "Answer yes or no. Is {x} a {c}?",
        ],
        ["Is {x} a type of {c}?", "Tell me yes or no: is {x} a {c}?", "Answer with one word: is {x} a {c}?"],
    ),
    "add": Phrasings(
        ["What is {x}?", "Compute {x}", "Add: {x}", "Calculate {x}", "Find {x}", "Give the sum {x}"],
        ["Compute the sum {x}", "Please calculate {x}", "How much is {x}?"],
    ),
}
CHAT_TASKS = list(PHRASINGS)
# The empty opening stands three times because it is to be drawn three times as often.
OPENINGS = ["", "", "", "Please help. ", "Hello! ", "Quick: ", "Now: ", "Next: "]


class ChatItem(NamedTuple):
    """One instruction and the only answer that counts as right."""

    task: str
    question: str
    answer: str


def chat_item(rng: Random, *, held_out: bool = False, task: str | None = None) -> ChatItem:
    """Draw an instruction.

    Args:
        rng: the generator drawn from.
        held_out: phrase it as tuning never did.
        task: a name in `CHAT_TASKS`; drawn when not given.
    """
    task = task or rng.choice(CHAT_TASKS)
    phrasing = rng.choice(PHRASINGS[task].held_out if held_out else PHRASINGS[task].tuned)
    fields, answer = _argument_and_answer(rng, task)
    return ChatItem(task, rng.choice(OPENINGS) + phrasing.format(**fields), answer)


def _argument_and_answer(rng: Random, task: str) -> tuple[dict[str, str], str]:
    if task == "category":
        word = rng.choice(WORDS)
        return {"x": word}, CATEGORY_OF[word]
    if task == "is_a":
        word = rng.choice(WORDS)
        category = CATEGORY_OF[word] if rng.random() < 0.5 else rng.choice(_other_categories(word))
        return {"x": word, "c": category}, "yes" if CATEGORY_OF[word] == category else "no"
    if task == "add":
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        return {"x": f"{a}+{b}"}, str(a + b)
    word = word_or_pseudo_word(rng)
    return {"x": word}, TRANSFORMATIONS[task](word)


def _other_categories(word: str) -> list[str]:
    return [name for name in CATEGORY_NAMES if name != CATEGORY_OF[word]]
