"""The whole way from a recipe to a pair on disk, with a minuscule model and few steps."""

import json
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.demo.training.batches import IGNORED, tuning_batches
from infra.demo.training.pair import make_pair
from infra.demo.training.recipe import BaseTraining, ModelShape, Recipe, Schedule, Tuning
from infra.demo.training.reshard import assign
from infra.demo.training.tokenizer import ASSISTANT, END, END_OF_TEXT
from infra.demo.training.train import learning_rate

PAIR = Path(__file__).parents[2] / "infra" / "demo" / "pair"
CODE = "def count(lines):\n    return sum(1 for _ in lines)\n\n" * 20
MINUSCULE = Recipe(
    shape=ModelShape(hidden_size=16, mlp_size=24, heads=2, kv_heads=1),
    base=BaseTraining(
        schedule=Schedule(steps=3, peak_learning_rate=3e-3, warmup_steps=1),
        batch=4,
        window_tokens=32,
        stream_tokens=5_000,
    ),
    tuning=Tuning(schedule=Schedule(steps=3, peak_learning_rate=1e-3, warmup_steps=1), chat_items=3, plain_items=1),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("demo") / "pair"
    make_pair(MINUSCULE, target, CODE)
    return target


@pytest.mark.parametrize("side", ["base", "instruct"])
def test_a_trained_side_loads_and_generates(trained: Path, side: str) -> None:
    model, report = AutoModelForCausalLM.from_pretrained(trained / side, output_loading_info=True)
    assert not any(report.values()), report
    assert model.dtype == torch.bfloat16
    prompt = AutoTokenizer.from_pretrained(trained / side)("a -> b", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=2, do_sample=False).shape[1] <= 8


def test_a_trained_pair_has_the_shipped_pairs_layout(trained: Path) -> None:
    def layout(pair: Path) -> tuple[list[str], list[dict[str, str]]]:
        files = sorted(file.relative_to(pair).as_posix() for file in pair.rglob("*"))
        indexes = sorted(pair.rglob("*.index.json"))
        return files, [json.loads(index.read_text())["weight_map"] for index in indexes]

    assert layout(trained) == layout(PAIR)


def test_tuning_moves_every_tensor_it_trains(trained: Path) -> None:
    base, instruct = (AutoModelForCausalLM.from_pretrained(trained / side) for side in ("base", "instruct"))
    matrices = [name for name, parameter in base.named_parameters() if parameter.ndim == 2]
    unmoved = [name for name in matrices if torch.equal(base.get_parameter(name), instruct.get_parameter(name))]
    assert unmoved == []


def test_the_same_recipe_gives_the_same_files(trained: Path, tmp_path: Path) -> None:
    make_pair(MINUSCULE, tmp_path / "again", CODE)
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == (trained / "SHA256SUMS").read_text()


def test_an_existing_folder_is_refused_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileExistsError, match="name another or remove it"):
        make_pair(MINUSCULE, tmp_path, CODE)
    assert capsys.readouterr().out == ""


def test_only_answers_and_plain_text_are_learned() -> None:
    chat, plain = next(tuning_batches(Tuning(), Random(0), Random(1)))
    ids, labels = chat
    assert len(ids) == 55
    for row, learned in zip(ids.tolist(), labels.tolist(), strict=True):
        begin, end = row.index(ASSISTANT) + 1, len(row) - row[::-1].index(END)
        assert learned == [IGNORED] * begin + row[begin:end] + [IGNORED] * (len(row) - end)
    ids, labels = plain
    assert ids.shape[0] == 9
    assert ids.shape[1] <= 160
    assert set(ids[:, 0].tolist()) == {END_OF_TEXT}
    assert set(labels[:, 0].tolist()) == {IGNORED}


def test_tuning_batches_are_reproducible() -> None:
    first, again = (
        [part for batch in islice(tuning_batches(Tuning(), Random(0), Random(1)), 3) for part in batch]
        for _ in range(2)
    )
    for (ids, labels), (other_ids, other_labels) in zip(first, again, strict=True):
        assert torch.equal(ids, other_ids)
        assert torch.equal(labels, other_labels)


def test_learning_rate_warms_up_to_its_peak_and_falls_to_a_twentieth() -> None:
    schedule = Schedule(steps=1000, peak_learning_rate=2e-3, warmup_steps=50)
    rates = [learning_rate(step, schedule) for step in range(1001)]
    assert rates[0] == pytest.approx(2e-3 / 50)
    assert max(rates) == rates[49] == rates[50] == 2e-3
    assert rates[1000] == pytest.approx(1e-4)
    assert rates[50:] == sorted(rates[50:], reverse=True)


def test_a_tensor_without_a_shard_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tensor b\.bias should match one shard"):
        assign(["a.weight", "b.bias"], (("a.*",), ("c.*",)))


def test_a_tensor_in_two_shards_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tensor a\.weight should match one shard"):
        assign(["a.weight"], (("a.*",), ("*.weight",)))


def test_a_shard_without_a_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="model-00002-of-00002"):
        assign(["a.weight"], (("a.*",), ("c.*",)))
