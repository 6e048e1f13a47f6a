"""The shipped pair is the one that was trained and measured, cut into shards that differ between its sides."""

import hashlib
import json
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.demo.training.chat import chat_item
from infra.demo.training.reshard import reshard_pair

PAIR = Path(__file__).parents[2] / "infra" / "demo" / "pair"
SIDES = ["base", "instruct"]
# SHA-256 over the bytes of all tensors in the order of their names, taken from the files as they were trained.
TRAINED_WEIGHTS = {
    "base": "d5fa6bf950d76718d2f0636f4df332f6dd564f0fbc2fbf49c963bf3e71bdb4de",
    "instruct": "c4c0087eed0dc5c0cd5dbb55b300bc1c6c0e851d2b65fbf1d7a6b7dd75d36a32",
}


def shards(side: str) -> list[Path]:
    return sorted((PAIR / side).glob("*.safetensors"))


def tensors(side: str) -> dict[str, torch.Tensor]:
    return {name: tensor for shard in shards(side) for name, tensor in load_file(shard).items()}


def shard_of(side: str) -> dict[str, str]:
    return json.loads((PAIR / side / "model.safetensors.index.json").read_text())["weight_map"]


def load(side: str) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(PAIR / side, dtype=torch.float32).eval()


def test_checksums_list_every_file_and_hold() -> None:
    lines = (PAIR / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {
        file.relative_to(PAIR).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for side in SIDES
        for file in (PAIR / side).iterdir()
    }
    assert listed == found


@pytest.mark.parametrize("side", SIDES)
def test_weights_are_the_trained_ones_byte_for_byte(side: str) -> None:
    digest = hashlib.sha256()
    for _, tensor in sorted(tensors(side).items()):
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    assert digest.hexdigest() == TRAINED_WEIGHTS[side]


def test_both_sides_hold_the_same_names_shapes_and_dtypes() -> None:
    base, instruct = ({name: (tensor.shape, tensor.dtype) for name, tensor in tensors(side).items()} for side in SIDES)
    assert base == instruct
    assert {dtype for _, dtype in base.values()} == {torch.bfloat16}


@pytest.mark.parametrize("side", SIDES)
def test_index_says_where_every_tensor_is(side: str) -> None:
    held = {}
    for shard in shards(side):
        with safe_open(shard, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            held |= dict.fromkeys(file.keys(), shard.name)
    assert shard_of(side) == held


def test_every_instruct_shard_draws_on_every_base_shard() -> None:
    base, instruct = shard_of("base"), shard_of("instruct")
    for shard in set(instruct.values()):
        assert {base[name] for name in instruct if instruct[name] == shard} == set(base.values())
    assert (len(shards("base")), len(shards("instruct"))) == (3, 4)


def test_resharding_the_shipped_pair_gives_the_same_files(tmp_path: Path) -> None:
    reshard_pair(PAIR, tmp_path / "again")
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == (PAIR / "SHA256SUMS").read_text()


def test_resharding_refuses_an_existing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        reshard_pair(PAIR, tmp_path)


@pytest.mark.parametrize("side", SIDES)
def test_transformers_finds_every_weight_and_no_other(side: str) -> None:
    _, report = AutoModelForCausalLM.from_pretrained(PAIR / side, output_loading_info=True)
    assert not any(report.values()), report


def test_only_the_instruct_side_has_a_chat_template() -> None:
    templates = {side: AutoTokenizer.from_pretrained(PAIR / side).chat_template for side in SIDES}
    assert templates["base"] is None
    assert templates["instruct"] is not None


def test_instruct_follows_instructions_and_base_does_not() -> None:
    tokenizer = AutoTokenizer.from_pretrained(PAIR / "instruct")
    rng = Random(77)
    items = [chat_item(rng) for _ in range(24)]
    right = {}
    for side in SIDES:
        model = load(side)
        right[side] = sum(answer(model, tokenizer, item.question) == f"{item.answer}<|end|>" for item in items)
    assert right["instruct"] >= 16
    assert right["base"] <= 2


def answer(model: torch.nn.Module, tokenizer: AutoTokenizer, question: str) -> str:
    turn = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    generated = model.generate(**prompt, max_new_tokens=16, do_sample=False)
    return tokenizer.decode(generated[0, prompt["input_ids"].shape[1] :])
