"""Parents of two dtypes: the output has the base's, or the one asked for, and config.json says which."""

import json

import pytest
import torch

from tests.architectures.accounting import assert_every_key_has_one_row, exact_items
from tests.architectures.merging import LAMBDAS, merge
from tests.architectures.pairs import assert_same_bits, greedy, lerp, make_models, read_state, reload, rewrite, save
from tests.architectures.zoo import ARCHITECTURES

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
CASES = [
    ("bfloat16", "float32", "auto", "bfloat16"),
    ("float32", "bfloat16", "auto", "float32"),
    ("float16", "bfloat16", "auto", "float16"),
    ("bfloat16", "float32", "float32", "float32"),
    ("bfloat16", "bfloat16", "float32", "float32"),
    ("float32", "float32", "bfloat16", "bfloat16"),
]


def save_as(folder, architecture, base, instruct):
    models = make_models(architecture)
    models.base.to(DTYPES[base])
    models.instruct.to(DTYPES[instruct])
    return save(models, folder)


def older_config(folder):
    """Name the dtype as transformers did before 4.56, and nothing but once."""
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"dtype"', '"torch_dtype"'))


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize(("base", "instruct", "out_dtype", "expected"), CASES)
def test_reloaded_dtype_is_that_of_the_files(tmp_path, name, base, instruct, out_dtype, expected):
    architecture = ARCHITECTURES[name]
    folders = save_as(tmp_path, architecture, base, instruct)
    merged = merge(*folders, tmp_path / "out", out_dtype=out_dtype)
    assert_every_key_has_one_row(merged.plan, *folders)
    ours, theirs = read_state(folders.base), read_state(folders.instruct)
    for lam in LAMBDAS:
        found = read_state(merged.folders[lam])
        assert_same_bits(found, {key: lerp(ours[key], theirs[key], lam, DTYPES[expected]) for key in ours})
        model = reload(merged.folders[lam], architecture, dtype="auto")
        assert {parameter.dtype for parameter in model.parameters()} == {DTYPES[expected]}
        assert json.loads((merged.folders[lam] / "config.json").read_text())["dtype"] == expected
        assert len(greedy(model, architecture.inputs())) == 6


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_config_of_an_older_transformers_states_the_dtype_under_its_own_name(tmp_path, name):
    folders = save_as(tmp_path, ARCHITECTURES[name], "bfloat16", "float32")
    older_config(folders.instruct)
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    config = json.loads((merged.folders[0.5] / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"
    assert "dtype" not in config
    model = reload(merged.folders[0.5], ARCHITECTURES[name], dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_nothing_but_the_dtype_changes_in_the_config(tmp_path):
    folders = save_as(tmp_path, ARCHITECTURES["llama"], "bfloat16", "float32")
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    found, given = exact_items(merged.folders[0.5] / "config.json"), exact_items(folders.instruct / "config.json")
    assert found == [(key, "bfloat16" if key == "dtype" else value) for key, value in given]


def test_tensors_that_a_model_keeps_wider_than_the_rest_stay_so(tmp_path):
    folders = save_as(tmp_path, ARCHITECTURES["mixtral"], "bfloat16", "bfloat16")
    ours, theirs = read_state(folders.base), read_state(folders.instruct)
    gate = "model.layers.0.block_sparse_moe.gate.weight"
    for folder, state in zip(folders, (ours, theirs), strict=True):
        state[gate] = state[gate].float() * 1.001
        rewrite(folder, state)
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    assert_same_bits(read_state(merged.folders[0.5]), {key: lerp(ours[key], theirs[key], 0.5) for key in ours})
    assert json.loads((merged.folders[0.5] / "config.json").read_text())["dtype"] == "bfloat16"
