"""Every element equals an independent float32 lerp, on every device, for every pairing of dtypes."""

import numpy as np
import pytest

from tests.engine.oracle import as_f64, differing, fma_f32, merged
from tests.engine.sweep import float_tensor, memory_source, normal_pair, run_sweep
from tests.fakes.checkpoints import Tensor

FLOATS = ["BF16", "F16", "F32", "F64"]
OUT = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
LAMBDAS = [0.0, 0.1, 0.3, 0.49999997, 0.5, 0.7, 0.9, 1.0, 1.5, -0.25, -0.75, 3.0]


def any_finite(rng: np.random.Generator, elements: int, dtype: str) -> Tensor:
    """Return random bit patterns: every exponent, subnormals, both zeros; no inf, no NaN."""
    bits = rng.integers(0, 256, elements * {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[dtype], np.uint8).tobytes()
    with np.errstate(invalid="ignore"):  # signalling NaNs among the bits
        values = as_f64((dtype, (), bits))
    return float_tensor(np.where(np.isfinite(values), values, 0.0), dtype)


@pytest.mark.parametrize("out_dtype", ["auto", *OUT])
@pytest.mark.parametrize("instruct_dtype", FLOATS)
@pytest.mark.parametrize("base_dtype", FLOATS)
def test_every_element_equals_the_float32_lerp(base_dtype, instruct_dtype, out_dtype, device):
    rng = np.random.default_rng(7)
    pairs = {
        "usual": normal_pair(rng, 20_001, base_dtype, instruct_dtype),
        "any": (any_finite(rng, 20_003, base_dtype), any_finite(rng, 20_003, instruct_dtype)),
    }
    base, instruct = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    sweep = run_sweep(
        memory_source(base), memory_source(instruct), LAMBDAS, out_dtype=out_dtype, chunk_bytes=None, device=device
    )
    written = OUT.get(out_dtype, base_dtype)
    for lam in LAMBDAS:
        for name, (dtype, _, data) in sweep.tensors(lam).items():
            wanted = merged(base[name], instruct[name], lam, written)
            assert (dtype, differing(data, wanted, written)) == (written, 0), (name, lam)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_a_bf16_output_is_within_one_ulp_of_float64(lam, device):
    base, instruct = normal_pair(np.random.default_rng(3), 300_000, "BF16")
    sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), [lam], device=device)
    b, i = as_f64(base), as_f64(instruct)
    exact = b + float(np.float32(lam)) * (i - b)
    one_ulp = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64) * 2**16
    assert np.all(np.abs(as_f64(sweep.tensors(lam)["w"]) - exact) <= one_ulp)


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_nans_go_through_as_lerp_defines_them(dtype, device):
    specials = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -2.5]
    base = float_tensor(np.repeat(specials, len(specials)), dtype)
    instruct = float_tensor(np.tile(specials, len(specials)), dtype)
    sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), [0.3, 0.5, 2.0], device=device)
    for lam in sweep.outputs:
        assert differing(sweep.tensors(lam)["w"][2], merged(base, instruct, lam, dtype), dtype) == 0, lam


@pytest.mark.parametrize("excess", [0.25, 0.5, 1.0, 0.1])
def test_extrapolating_walks_on_beyond_the_instruct_model(excess, device):
    """M(1 + α) = I + α(I − B)."""
    base, instruct = normal_pair(np.random.default_rng(5), 50_000, "F32")
    sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), [1 + excess], device=device)
    b, i = as_f64(base), as_f64(instruct)
    error = np.abs(as_f64(sweep.tensors(1 + excess)["w"]) - (i + excess * (i - b)))
    assert np.all(error <= 1e-6 * (np.abs(i) + excess * np.abs(i - b)))


@pytest.mark.parametrize(("first", "second", "inner"), [(0.2, 0.8, 0.5), (0.1, 0.9, 0.3), (0.0, 1.0, 0.6)])
def test_merging_merges_is_merging(first, second, inner, device):
    """merge(M(a), M(b), u) = M((1 − u)a + ub)."""
    base, instruct = normal_pair(np.random.default_rng(6), 50_000, "F32")
    direct = (1 - inner) * first + inner * second
    parents = memory_source({"w": base}), memory_source({"w": instruct})
    sweep = run_sweep(*parents, [first, second, direct], device=device)
    between = [memory_source({"w": sweep.tensors(lam)["w"]}) for lam in (first, second)]
    again = as_f64(run_sweep(*between, [inner], device=device).tensors(inner)["w"])
    scale = np.maximum(np.abs(as_f64(base)), np.abs(as_f64(instruct)))
    assert np.all(np.abs(again - as_f64(sweep.tensors(direct)["w"])) <= 1e-6 * scale)


def test_the_oracle_rounds_once():
    """The sum lies 2⁻⁵⁴ below the middle of two float32; float64 rounds it onto the middle, and on to the wrong one."""
    factor, values = np.float32((1 + 2**-15) / 4), np.float32([2**-22 * (1 - 2**-15)])
    addend = np.float32([1 + 2**-23])
    twice = (np.float64(factor) * values.astype(np.float64) + addend).astype(np.float32)
    assert fma_f32(factor, values, addend) == addend
    assert twice == np.float32(1 + 2**-22)
