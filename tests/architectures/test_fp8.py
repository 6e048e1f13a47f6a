"""fp8 parents: codes and scales become bf16 numbers first, and the output is a plain bf16 model that says so."""

import copy
import json

import pytest
import torch

from crossfade_core.plan import Action
from tests.architectures.accounting import assert_every_key_has_one_row, exact_items
from tests.architectures.merging import LAMBDAS, merge
from tests.architectures.pairs import (
    Models,
    assert_same_bits,
    assert_same_model,
    lerp,
    lerp_state,
    make_models,
    read_state,
    reload,
    rewrite,
    save,
)
from tests.architectures.quantising import FORMATS, quantise
from tests.architectures.zoo import ARCHITECTURES, text_inputs


def make_pair() -> Models:
    """Two Llamas whose linears have several blocks, and edges that cut through blocks."""
    return make_models(ARCHITECTURES["llama"], hidden_size=192, intermediate_size=320)


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)], ids=["base", "instruct", "both"])
@pytest.mark.parametrize("kind", FORMATS)
def test_output_is_the_merge_of_the_dequantised_parents_as_a_plain_model(tmp_path, kind, sides):
    models = make_pair()
    folders = save(models, tmp_path)
    numbers = [quantise(folder, kind) if side in sides else read_state(folder) for side, folder in enumerate(folders)]
    merged = merge(*folders, tmp_path / "out")
    for lam in LAMBDAS:
        folder, state = merged.folders[lam], lerp_state(*numbers, lam)
        assert_same_bits(read_state(folder), state)
        config = json.loads((folder / "config.json").read_text())
        assert (config["dtype"], "quantization_config" in config) == ("bfloat16", False)
        expected = copy.deepcopy(models.instruct)
        expected.load_state_dict(state)
        assert_same_model(reload(folder, dtype="auto"), expected, text_inputs())


def test_output_may_be_of_another_dtype_than_the_numbers(tmp_path):
    folders = save(make_pair(), tmp_path)
    ours, theirs = quantise(folders.base, "blocks"), read_state(folders.instruct)
    merged = merge(*folders, tmp_path / "out", out_dtype="float32", lambdas=[0.5])
    expected = {name: lerp(ours[name], theirs[name], 0.5, torch.float32) for name in ours}
    assert_same_bits(read_state(merged.folders[0.5]), expected)
    assert reload(merged.folders[0.5], dtype="auto").dtype == torch.float32


@pytest.mark.parametrize("kind", FORMATS)
def test_scales_are_accounted_for_and_not_written(tmp_path, kind):
    folders = save(make_pair(), tmp_path)
    quantise(folders.base, kind)
    plan = merge(*folders, tmp_path / "out", lambdas=[0.5]).plan
    assert_every_key_has_one_row(plan, *folders)
    scales = {name for name in read_state(folders.base) if "_scale" in name}
    assert len(scales) == 14
    assert {row.name: row.action for row in plan.absorbed} == dict.fromkeys(scales, Action.ABSORB)


def test_codes_alone_would_be_another_model(tmp_path):
    folders = save(make_pair(), tmp_path)
    numbers = quantise(folders.base, "blocks")
    codes = {name: tensor.bfloat16() for name, tensor in read_state(folders.base).items() if name in numbers}
    ratio = max(float(codes[name].float().norm() / numbers[name].float().norm()) for name in numbers)
    assert ratio > 100  # what a merge that passes over the scales would be wrong by


def test_nothing_but_the_quantisation_leaves_the_config(tmp_path):
    folders = save(make_pair(), tmp_path)
    quantise(folders.instruct, "blocks")
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    found, given = exact_items(merged.folders[0.5] / "config.json"), exact_items(folders.instruct / "config.json")
    assert found == [(key, value) for key, value in given if key != "quantization_config"]


def test_scales_of_static_activations_are_absorbed_too(tmp_path):
    folders = save(make_pair(), tmp_path)
    numbers = quantise(folders.base, "tensor")
    stored = read_state(folders.base)
    inputs = {f"{name.removesuffix('weight')}input_scale": torch.ones(1) for name in numbers if "_proj" in name}
    rewrite(folders.base, {**stored, **inputs})
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    assert_every_key_has_one_row(merged.plan, *folders)
    assert read_state(merged.folders[0.5]).keys() == numbers.keys()
