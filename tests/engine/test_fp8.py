"""Scaled fp8 is bfloat16(code · scale) before anything else happens to it: every code, every layout of the scales."""

import math
from typing import NamedTuple

import numpy as np
import pytest

from tests.engine.oracle import WORD, as_f32, dequantised, differing, encode, fp8_values, merged_elementwise
from tests.engine.sweep import Sweep, float_tensor, memory_source, run_every_way, run_sweep
from tests.fakes.checkpoints import Tensor

LAMBDAS = [0.0, 0.3, 0.7, 1.0, 1.25]
OUT = {"auto": "BF16", "bfloat16": "BF16", "float16": "F16", "float32": "F32"}
CODES = ["F8_E4M3", "F8_E5M2"]


class Layout(NamedTuple):
    """How scales lie over codes: their shape as stored and as the oracle spreads it, and the size of a block."""

    shape: tuple[int, ...]
    scales: tuple[int, ...]
    block: tuple[int, int]
    spread: tuple[int, ...] | None = None
    is_stated: bool = False

    @property
    def config(self) -> dict | None:
        stated = {"quantization_config": {"quant_method": "fp8", "weight_block_size": list(self.block)}}
        return stated if self.is_stated else None


LAYOUTS = {
    "whole blocks": Layout((256, 384), (2, 3), (128, 128)),
    "blocks that stick out": Layout((200, 333), (2, 3), (128, 128)),
    "small blocks": Layout((67, 91), (5, 3), (16, 32), is_stated=True),
    "one column": Layout((4099, 1), (33, 1), (128, 128)),
    "one row": Layout((1, 9001), (1, 71), (128, 128)),
    "experts": Layout((3, 41, 53), (3, 3, 4), (16, 16), is_stated=True),
    "experts of blocks": Layout((2, 130, 129), (2, 2, 2), (128, 128)),
    "one scale for each expert": Layout((5, 31, 47), (5, 1, 1), (31, 47)),
    "experts, gate and up": Layout((3, 40, 51), (3, 2, 1), (20, 51)),
    "rows": Layout((87, 95), (87, 1), (1, 95)),
    "rows, flat": Layout((87, 95), (87,), (1, 95), spread=(87, 1)),
    "columns": Layout((87, 95), (1, 95), (87, 1)),
    "one scale": Layout((87, 95), (), (87, 95), spread=(1, 1)),
    "one scale of a cube": Layout((9, 20, 30), (1,), (20, 30), spread=(1, 1, 1)),
    "a vector": Layout((8201,), (1,), (1, 8201), spread=(1, 1)),
}


class Quantised(NamedTuple):
    """A tensor of codes with its scales as a checkpoint stores them, and the values it stands for."""

    tensors: dict[str, Tensor]
    values: Tensor


def quantise(rng: np.random.Generator, layout: Layout, codes: str, scales: str, name: str = "w") -> Quantised:
    """Draw codes of finite numbers, and scales about 1/100."""
    finite = np.flatnonzero(np.isfinite(fp8_values(codes))).astype(np.uint8)
    coded = codes, layout.shape, rng.choice(finite, math.prod(layout.shape)).tobytes()
    stored = float_tensor(rng.uniform(0.002, 0.02, layout.scales), scales)
    spread = as_f32(stored).reshape(layout.spread or layout.scales)
    return Quantised({name: coded, f"{name}_scale_inv": stored}, dequantised(coded, spread, layout.block))


def plain(rng: np.random.Generator, layout: Layout, dtype: str) -> Tensor:
    return float_tensor(rng.normal(0, 0.5, layout.shape), dtype)


def assert_is_merged(sweep: Sweep, base: Tensor, instruct: Tensor, written: str) -> None:
    for lam in sweep.outputs:
        assert list(sweep.tensors(lam)) == ["w"]
        dtype, shape, data = sweep.tensors(lam)["w"]
        wanted = merged_elementwise(base, as_f32(instruct), lam, written)
        assert (dtype, shape, differing(data, wanted, written)) == (written, base[1], 0), lam


@pytest.mark.parametrize("scales", ["F32", "BF16"])
@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scales_reach_the_codes_they_belong_to(rng, layout, codes, scales):
    found = LAYOUTS[layout]
    base, instruct = quantise(rng, found, codes, scales), plain(rng, found, "BF16")
    sources = memory_source(base.tensors, config=found.config), memory_source({"w": instruct})
    assert_is_merged(run_every_way(*sources, LAMBDAS), base.values, instruct, "BF16")


@pytest.mark.parametrize("out_dtype", OUT)
@pytest.mark.parametrize("layout", ["blocks that stick out", "experts"])
def test_both_parents_may_be_codes_of_different_kinds(rng, layout, out_dtype):
    found = LAYOUTS[layout]
    base, instruct = (quantise(rng, found, codes, scales) for codes, scales in zip(CODES, ("F32", "BF16"), strict=True))
    sources = (memory_source(side.tensors, config=found.config) for side in (base, instruct))
    sweep = run_every_way(*sources, LAMBDAS, out_dtype=out_dtype)
    assert_is_merged(sweep, base.values, instruct.values, OUT[out_dtype])


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_an_instruct_of_codes_takes_the_bases_dtype(rng, dtype):
    found = LAYOUTS["blocks that stick out"]
    base, instruct = plain(rng, found, dtype), quantise(rng, found, "F8_E4M3", "F32")
    sweep = run_every_way(memory_source({"w": base}), memory_source(instruct.tensors), LAMBDAS)
    assert_is_merged(sweep, base, instruct.values, dtype)
    assert sweep.tensors(0.0)["w"] == base


@pytest.mark.parametrize("out_dtype", ["auto", "float32"])
@pytest.mark.parametrize("lam", [0.0, 1.0])
@pytest.mark.parametrize("codes", CODES)
def test_every_one_of_the_256_codes_is_its_number(codes, lam, out_dtype):
    coded = {"w": (codes, (65, 256), bytes(range(256)) * 65), "w_scale_inv": float_tensor(1.0, "F32")}
    sources = [memory_source(coded), memory_source({"w": float_tensor(np.zeros((65, 256)), "BF16")})]
    sweep = run_every_way(*(sources if lam == 0 else reversed(sources)), [lam], out_dtype=out_dtype)
    dtype, _, data = sweep.tensors(lam)["w"]
    wanted = np.tile(fp8_values(codes), 65)
    assert (dtype, differing(data, encode(wanted, OUT[out_dtype]), dtype)) == (OUT[out_dtype], 0)
    nans = np.frombuffer(data, WORD[dtype])[np.isnan(wanted)]
    assert set(nans) == {{"BF16": 0x7FC0, "F32": 0x7FC00000}[dtype]}


def test_scales_may_be_powers_of_two(rng):
    """DeepSeek V3.1 and later store scales as F8_E8M0: 2 to the code minus 127."""
    found = LAYOUTS["blocks that stick out"]
    exponents = rng.integers(110, 128, found.scales).astype(np.uint8)
    base = quantise(rng, found, "F8_E4M3", "F32")
    values = dequantised(base.tensors["w"], np.ldexp(np.float32(1), exponents.astype(int) - 127), found.block)
    stored = {**base.tensors, "w_scale_inv": ("F8_E8M0", found.scales, exponents.tobytes())}
    instruct = plain(rng, found, "BF16")
    sweep = run_every_way(memory_source(stored), memory_source({"w": instruct}), LAMBDAS)
    assert_is_merged(sweep, values, instruct, "BF16")


def test_the_product_is_rounded_to_float32_and_then_to_bfloat16():
    """As transformers dequantises; on its way to some of these, float32 loses on which side of a middle they lie."""
    middles = 1 + (2 * np.arange(128) + 1) / 256
    scales = (middles / 1.125).astype(np.float32)[:, None]
    exact = 1.125 * scales.astype(np.float64).ravel()
    assert np.any((exact != middles) & (exact.astype(np.float32) == middles))
    stored = {"w": ("F8_E4M3", (128, 20), bytes([0x39] * 2560)), "w_scale_inv": float_tensor(scales, "F32")}
    sweep = run_every_way(memory_source(stored), memory_source(stored), [0.0, 0.5, 1.0])
    wanted = encode(np.repeat(exact.astype(np.float32), 20), "BF16")
    assert [sweep.tensors(lam)["w"][2] for lam in sweep.outputs] == [wanted] * 3


def test_codes_that_one_parent_alone_has_are_dequantised_as_they_are_copied(rng):
    found = LAYOUTS["blocks that stick out"]
    only = {side: quantise(rng, found, "F8_E5M2", "F32", side) for side in ("base", "tuned")}
    both = {"w": float_tensor([1.0, 2.0], "BF16")}
    sources = (memory_source({**both, **only[side].tensors}) for side in only)
    sweep = run_every_way(*sources, [0.0, 0.5], out_dtype="float32", policies={"one_sided": "copy"})
    for lam in sweep.outputs:
        found_tensors = sweep.tensors(lam)
        assert found_tensors.keys() == {"w", "base", "tuned"}
        for side, quantised in only.items():
            assert found_tensors[side] == ("F32", found.shape, as_f32(quantised.values).tobytes())


def test_neither_shards_nor_the_place_of_the_scales_change_a_byte(rng):
    layouts = {f"t{number}": LAYOUTS[name] for number, name in enumerate(("rows", "whole blocks", "one row"))}
    quantised = {name: quantise(rng, layout, "F8_E4M3", "F32", name) for name, layout in layouts.items()}
    tuned = {name: plain(rng, layout, "BF16") for name, layout in layouts.items()}
    stored = {name: tensor for each in quantised.values() for name, tensor in each.tensors.items()}
    together = run_sweep(memory_source(stored), memory_source(tuned), [0.4])
    dealt = [sorted(stored)[first::3] for first in range(3)]
    apart = run_sweep(memory_source(stored, dealt), memory_source(tuned, [["t2"], ["t0", "t1"]]), [0.4])
    assert apart.tensors(0.4) == together.tensors(0.4)
    for name, each in quantised.items():
        wanted = merged_elementwise(each.values, as_f32(tuned[name]), 0.4, "BF16")
        assert together.tensors(0.4)[name][2] == wanted
