"""The sums of a pass are those of a float64 oracle, wherever chunks end; and rounding shows in what a λ really did."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from crossfade_core.statistics import SweepStatistics, output_figures, tensor_figures
from crossfade_core.strength import as_float32
from tests.engine.oracle import Sums, as_f32, as_f64, chained_f32, delta_f32, dequantised, stepped_f32
from tests.engine.sweep import (
    Sweep,
    adapter_source,
    float_tensor,
    memory_source,
    normal_pair,
    run_sweep,
)
from tests.fakes.checkpoints import Tensor

LAMBDAS = [0.0, 0.1, 1.5]
CHUNKS = [2 * 4096, 15 * 4096, None]
SUM_ERROR = 1e-5
"""Relative; sums of 8192 products in float32 were seen to be off by 1.3e-6, and kernels differ between processors."""
OUT = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def found_sums(record: Mapping[str, Any], position: int) -> Sums:
    """Return what the pass counted at one λ."""
    products, squares, unchanged, _ = record["outputs"][position]
    return Sums(record["delta_squares"], record["base_squares"], products, squares, unchanged)


def assert_are_close(found: Sums, wanted: Sums) -> None:
    """Hold sums, made in float32 by blocks, against each other; one of products relative to those of squares."""
    scales = {field.name: abs(getattr(wanted, field.name)) for field in fields(Sums)}
    scales["step_products"] = np.sqrt(wanted.delta_squares * wanted.step_squares)
    for name, scale in scales.items():
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=0, abs=SUM_ERROR * scale), name


def assert_sums_are_right(sweeps: list[Sweep], name: str, base: Tensor, instruct_f32: np.ndarray, counted=None) -> None:
    """Hold every sweep's sums against the oracle's."""
    records = [sweep.sums(name) for sweep in sweeps]
    size = len(instruct_f32) if counted is None else len(counted)
    for record in records:
        assert record["counted"] == size
        for position, lam in enumerate(sweeps[0].outputs):
            wanted = Sums.of(base, instruct_f32, sweeps[0].tensors(lam)[name], counted)
            found = found_sums(record, position)
            assert_are_close(found, wanted)
            assert found.unchanged == wanted.unchanged


def run_all(base, instruct, lambdas=LAMBDAS, **options: Any) -> list[Sweep]:
    return [
        run_sweep(base, instruct, lambdas, chunk_bytes=chunk_bytes, threads=threads, **options)
        for threads, chunk_bytes in enumerate(CHUNKS, start=1)
    ]


@pytest.mark.parametrize("options", [{}, *({"out_dtype": each} for each in OUT), {"rounding": "stochastic"}], ids=str)
@pytest.mark.parametrize("dtypes", ["BF16-BF16", "F16-F16", "F32-F32", "BF16-F32", "F32-F16"])
def test_sums_are_those_of_the_oracle(rng, dtypes, options):
    pairs = {
        name: normal_pair(rng, elements, *dtypes.split("-"))
        for name, elements in (("a", 9001), ("b", 70_001), ("c", 1))
    }
    base, instruct = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    sweeps = run_all(memory_source(base), memory_source(instruct), **options)
    for name, (ours, theirs) in pairs.items():
        assert_sums_are_right(sweeps, name, ours, as_f32(theirs))


@pytest.mark.parametrize("out_dtype", ["auto", "bfloat16", "float32"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_an_equal_beginning_counts_element_by_element(rng, dtype, out_dtype):
    """Chunks that are equal are copied; what is counted must not tell."""
    values = rng.normal(0, 1, 30_000)
    base = float_tensor(values, dtype)
    values[25_000:] += 0.5
    instruct = float_tensor(values, dtype)
    sweeps = run_all(memory_source({"w": base}), memory_source({"w": instruct}), out_dtype=out_dtype)
    assert_sums_are_right(sweeps, "w", base, as_f32(instruct))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_an_equal_tensor_is_all_unchanged(rng, dtype):
    tensor = float_tensor(rng.normal(0, 1, 30_000), dtype)
    source = memory_source({"w": tensor})
    for sweep in run_all(source, source):
        record = sweep.sums("w")
        assert (record["elements"], record["counted"], record["delta_squares"]) == (30_000, 30_000, 0.0)
        assert record["outputs"] == [[0.0, 0.0, 30_000, 0]] * len(LAMBDAS)


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_numbers_that_are_not_finite_add_nothing(rng, dtype):
    sides = rng.normal(0, 1, (2, 30_000))
    for side in sides:
        side[rng.integers(0, 30_000, 200)] = rng.choice([np.nan, np.inf, -np.inf], 200)
    base, instruct = (float_tensor(side, dtype) for side in sides)
    sweeps = run_all(memory_source({"w": base}), memory_source({"w": instruct}), [0.3, 0.7])
    assert_sums_are_right(sweeps, "w", base, as_f32(instruct))


def test_results_that_overflow_add_nothing(rng):
    base, instruct = (float_tensor(side, "F32") for side in rng.uniform(-1e5, 1e5, (2, 30_000)))
    sweeps = run_all(memory_source({"w": base}), memory_source({"w": instruct}), out_dtype="float16")
    assert_sums_are_right(sweeps, "w", base, as_f32(instruct))


@pytest.mark.parametrize("elements", [5, 65_536, 65_537, 17 * 65_536 + 100])
def test_a_sample_is_every_sixteenth_block_of_65536(rng, elements):
    base, instruct = normal_pair(rng, elements, "BF16")
    counted = np.flatnonzero(np.arange(elements) // 65_536 % 16 == 0)
    sources = (
        memory_source({"a": float_tensor([1.0], "BF16"), "w": base}),
        memory_source({"a": float_tensor([2.0], "BF16"), "w": instruct}),
    )
    sweeps = [run_sweep(*sources, [0.3], chunk_bytes=size, statistics="sampled") for size in (65_536 + 4096, None)]
    assert_sums_are_right(sweeps, "w", base, as_f32(instruct), counted)
    assert sweeps[0].sums("w")["elements"] == elements
    assert sweeps[0].merged[0].statistics["method"] == "sampled"


@pytest.mark.parametrize("statistics", ["exact", "sampled"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_what_is_counted_changes_no_byte(rng, statistics, rounding):
    base, instruct = normal_pair(rng, 100_000, "BF16")
    sources = memory_source({"w": base}), memory_source({"w": instruct})
    assert (
        run_sweep(*sources, LAMBDAS, statistics=statistics, rounding=rounding).outputs
        == run_sweep(*sources, LAMBDAS, rounding=rounding).outputs
    )


def test_codes_are_counted_as_the_values_they_are(rng):
    shape = (200, 150)
    codes = "F8_E4M3", shape, rng.integers(1, 0x7F, 30_000, np.uint8).tobytes()
    scales = float_tensor(rng.uniform(0.001, 0.01, (2, 2)), "F32")
    values = dequantised(codes, as_f32(scales).reshape(2, 2), (128, 128))
    plain = float_tensor(rng.normal(0, 1, shape), "BF16")
    coded = {"w": codes, "w_scale_inv": scales}
    sweeps = run_all(memory_source(coded), memory_source({"w": plain}))
    assert_sums_are_right(sweeps, "w", values, as_f32(plain))
    sweeps = run_all(memory_source({"w": plain}), memory_source(coded))
    assert_sums_are_right(sweeps, "w", plain, as_f32(values))


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_a_chain_is_counted_by_the_step_it_takes(rng, dtype):
    base, tuned, origin = (float_tensor(side, dtype) for side in rng.normal(0, 1, (3, 30_000)))
    tuned = dtype, (30_000,), origin[2][:20_000] + tuned[2][20_000:]
    sources = [memory_source({"w": side}) for side in (base, tuned, origin)]
    sweeps = run_all(*sources[:2], reference=sources[2])
    assert_sums_are_right(sweeps, "w", base, chained_f32(*map(as_f32, (base, tuned, origin))))


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_an_adapter_is_counted_by_its_delta(rng, dtype):
    base = float_tensor(rng.normal(0, 0.02, (300, 101)), dtype)
    down, up = (float_tensor(rng.normal(0, 0.02, shape), "F32") for shape in ((4, 101), (300, 4)))
    adapter = adapter_source({"m.lora_A.weight": down, "m.lora_B.weight": up}, r=4, lora_alpha=8)
    sweeps = run_all(memory_source({"m.weight": base, "norm": base}), adapter)
    instruct_f32 = stepped_f32(as_f32(base), delta_f32(down, up, 2.0).reshape(-1))
    assert_sums_are_right(sweeps, "m.weight", base, instruct_f32)
    assert [each["tensor"] for each in sweeps[0].merged[0].statistics["tensors"]] == ["m.weight"]


def test_a_tensors_factor_stands_beside_its_sums(rng):
    pairs = {name: normal_pair(rng, 9001, "BF16") for name in ("a", "b")}
    base, instruct = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    schedule = [{"pattern": "a", "factor": 0.5}, {"pattern": "*", "factor": 1.0}]
    sweeps = run_all(memory_source(base), memory_source(instruct), schedule=schedule)
    for name, factor in (("a", 0.5), ("b", 1.0)):
        assert sweeps[0].sums(name)["factor"] == factor
        assert_sums_are_right(sweeps, name, pairs[name][0], as_f32(pairs[name][1]))


def test_copied_tensors_do_not_appear(rng):
    base, instruct = normal_pair(rng, 9001, "BF16")
    ids = "I64", (5,), bytes(40)
    sources = memory_source({"w": base, "ids": ids, "only": base}), memory_source({"w": instruct, "ids": ids})
    sweep = run_sweep(*sources, [0.5], policies={"one_sided": "copy"})
    assert [each["tensor"] for shard in sweep.merged for each in shard.statistics["tensors"]] == ["w"]


def realised(lam: float, **options: Any) -> float:
    """Return λ̂ of the fixture of docs/numerics.md: weights N(0, 0.02), tuned by N(0, 1e-4), both bfloat16."""
    rng = np.random.default_rng(2026)
    base = float_tensor(rng.normal(0, 0.02, 1_000_000), "BF16")
    instruct = float_tensor(as_f32(base) + rng.normal(0, 1e-4, 1_000_000), "BF16")
    sources = memory_source({"w": base}), memory_source({"w": instruct})
    sweep = run_sweep(*sources, [lam], chunk_bytes=None, **options)
    statistics = SweepStatistics.of_results([{"statistics": merged.statistics} for merged in sweep.merged])
    figures = output_figures(statistics, 0, lam)
    assert figures.requested == pytest.approx(as_float32(lam), rel=1e-15)
    assert figures.realised == tensor_figures(statistics, 0, lam)[0].realised
    return figures.realised


def test_the_rounding_error_of_float32_is_told_though_it_is_tiny(rng):
    """Of a difference of sums that agree to nine digits."""
    base, instruct = normal_pair(rng, 200_000, "F32")
    sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), [0.3], chunk_bytes=None)
    statistics = SweepStatistics.of_results([{"statistics": merged.statistics} for merged in sweep.merged])
    b, i, m = (as_f64(tensor) for tensor in (base, instruct, sweep.tensors(0.3)["w"]))
    intended = as_float32(0.3) * (i - b)
    wanted = np.linalg.norm(m - b - intended) / np.linalg.norm(intended)
    assert wanted < 1e-5
    assert output_figures(statistics, 0, 0.3).rounding_error == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize(("lam", "wanted", "within"), [(0.1, 0.027, 0.001), (0.3, 0.225, 0.002), (0.5, 0.5, 0.002)])
def test_small_steps_are_lost_in_bfloat16(lam, wanted, within):
    assert realised(lam) == pytest.approx(wanted, abs=within)


@pytest.mark.parametrize("lam", [0.1, 0.3])
def test_stochastic_rounding_and_float32_restore_them(lam):
    assert realised(lam, rounding="stochastic") == pytest.approx(lam, abs=0.002)
    assert realised(lam, out_dtype="float32") == pytest.approx(lam, abs=1e-5)
