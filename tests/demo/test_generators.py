"""The generators still draw what the shipped pair was trained on, as far as Python lets them.

The frozen digests were taken when these generators and the ones that the pair was trained with gave equal streams.
They hold under any hash seed; text from the standard library stays out of them, as it differs between Python versions.
"""

import hashlib
from collections.abc import Iterable
from random import Random

import pytest

from infra.demo.training.chat import CHAT_TASKS, PHRASINGS, chat_item
from infra.demo.training.documents import DOCUMENTS, base_stream, standard_library_code
from infra.demo.training.icl import ICL_TASKS, icl_item
from infra.demo.training.recipe import BaseTraining
from infra.demo.training.tokenizer import build_tokenizer, encode, prompt_ids, turn_ids

CODE = "def count(lines):\n    return sum(1 for _ in lines)\n\n" * 20


def digest(lines: Iterable[object]) -> str:
    return hashlib.sha256("\n".join(map(repr, lines)).encode()).hexdigest()[:16]


def test_base_stream_is_the_recipes() -> None:
    stream = base_stream(200_000, 1000, BaseTraining().mix, CODE)
    assert hashlib.sha256(stream.astype("<i2").tobytes()).hexdigest()[:16] == "87c7d53a0d960da1"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mapping", "613afc7977bdcbb0"),
        ("word_classes", "f1f6b21b0ce68561"),
        ("transformations", "6fc0f341c1f10ea6"),
        ("sentences", "d5bdd2aa4a1fe77d"),
        ("category_list", "2243c36959eaa5d7"),
        ("arithmetic", "d211e347b4ed8765"),
        ("sequence", "9735c2ca51b27bfd"),
    ],
)
def test_documents_are_the_recipes(kind: str, expected: str) -> None:
    rng = Random(3)
    assert digest(DOCUMENTS[kind](rng) for _ in range(500)) == expected


@pytest.mark.parametrize(("held_out", "expected"), [(False, "97aa5aaeed0395fa"), (True, "ecdd7d73ce18723f")])
def test_chat_items_are_the_recipes(held_out: bool, expected: str) -> None:
    rng = Random(500_000)
    assert digest(tuple(chat_item(rng, held_out=held_out)) for _ in range(2000)) == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("mapping", "ef20dee0dbbab898"),
        ("category", "4bee89237bc9b343"),
        ("inference", "56d2bd46fa302b07"),
        ("execution", "1cebf11b8acd79fb"),
        ("pattern", "4bda9b085f348ec4"),
    ],
)
def test_few_shot_items_are_the_evaluations(task: str, expected: str) -> None:
    rng = Random(11)
    assert digest(tuple(icl_item(rng, task)) for _ in range(500)) == expected


@pytest.mark.parametrize("task", CHAT_TASKS)
def test_held_out_phrasings_are_never_tuned(task: str) -> None:
    assert not set(PHRASINGS[task].tuned) & set(PHRASINGS[task].held_out)


@pytest.mark.parametrize("task", ICL_TASKS)
def test_candidates_differ_and_one_is_gold(task: str) -> None:
    rng = Random(5)
    for _ in range(200):
        item = icl_item(rng, task)
        assert len(set(item.candidates)) == len(item.candidates) == (2 if task == "category" else 4)
        assert 0 <= item.gold < len(item.candidates)


def test_tokenizer_encodes_text_as_its_bytes() -> None:
    tokenizer = build_tokenizer(with_chat_template=True)
    text = "Grüße, λ! \n" + "".join(map(chr, range(32, 127)))
    assert tokenizer(text)["input_ids"] == encode(text)
    assert tokenizer.decode(encode(text)) == text


def test_chat_template_writes_the_ids_that_tuning_saw() -> None:
    tokenizer = build_tokenizer(with_chat_template=True)
    item = chat_item(Random(0))
    question = [{"role": "user", "content": item.question}]
    asked = tokenizer.apply_chat_template(question, add_generation_prompt=True)["input_ids"]
    answered = tokenizer.apply_chat_template([*question, {"role": "assistant", "content": item.answer}])["input_ids"]
    assert asked == prompt_ids(item.question)
    assert answered == turn_ids(item.question, item.answer)


def test_standard_library_code_is_ascii_and_long_enough_to_cut_from() -> None:
    code = standard_library_code()
    assert code.isascii()
    assert len(code) > 100_000
