"""What headers cannot tell: NaN, infinity and overflow are refused by name, or kept and counted; integers by policy."""

from collections.abc import Mapping

import numpy as np
import pytest

from crossfade_core.errors import NonFinite, OutputOverflow
from tests.engine.oracle import as_f32, chained_f32, merged
from tests.engine.sweep import (
    adapter_source,
    float_tensor,
    memory_source,
    normal_pair,
    run_every_way,
    run_sweep,
)
from tests.fakes.checkpoints import Tensor
from tests.fakes.source import MemorySource

FLOATS = ["BF16", "F16", "F32", "F64"]
REFUSE_NON_FINITE = {"non_finite": "refuse"}
REFUSE_OVERFLOW = {"overflow": "refuse"}
SPECIALS = {"NaN": (np.nan, 1, 0), "inf": (np.inf, 0, 1), "-inf": (-np.inf, 0, 1)}
EMBEDDING = "model.embed_tokens.weight"
WEIGHT = np.random.default_rng(5).normal(0, 0.1, (90, 101))

Parents = tuple[MemorySource, MemorySource, MemorySource | None]


def with_value(value: float, dtype: str = "BF16", at: int = 8000) -> Tensor:
    """Return a weight of three small chunks with one number replaced."""
    values = WEIGHT.copy()
    values.flat[at] = value
    return float_tensor(values, dtype)


def assert_is_refused(parents: Parents, tensor: str, parent: str, counts: tuple[int, int], **options) -> None:
    """Expect the refusal with everything in one chunk, and with small chunks."""
    policies = {**REFUSE_NON_FINITE, **options.pop("policies", {})}
    base, instruct, reference = parents
    for chunk_bytes in (None, 4096):
        with pytest.raises(NonFinite, match=f"{tensor!r} of the {parent} ") as refusal:
            run_sweep(base, instruct, [0.5], reference=reference, chunk_bytes=chunk_bytes, policies=policies, **options)
        details = refusal.value.details
        assert (details["tensor"], details["parent"]) == (tensor, parent)
        assert (details["nan"], details["infinite"]) == counts


@pytest.mark.parametrize("special", SPECIALS)
@pytest.mark.parametrize("role", ["base", "instruct"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_number_that_is_not_finite_is_refused_by_name(dtype, role, special):
    value, *counts = SPECIALS[special]
    sides = [float_tensor(WEIGHT, dtype), with_value(value, dtype)]
    base, instruct = (memory_source({"w": side}) for side in (sides if role == "instruct" else reversed(sides)))
    assert_is_refused((base, instruct, None), "w", role, tuple(counts))


def test_how_many_there_are_in_the_block_is_told():
    values = np.array([1.0, np.nan, np.inf, -np.inf, np.nan, np.nan, 2.0])
    base, instruct = float_tensor(np.arange(7.0), "F32"), float_tensor(values, "F32")
    assert_is_refused((memory_source({"w": base}), memory_source({"w": instruct}), None), "w", "instruct", (3, 2))


def test_a_double_too_large_for_float32_counts_as_infinite():
    parents = memory_source({"w": with_value(1e300, "F64")}), memory_source({"w": float_tensor(WEIGHT, "F64")}), None
    assert_is_refused(parents, "w", "base", (0, 1))


@pytest.mark.parametrize("lambdas", [[0.0], [1.0], [0.5]])
def test_tensors_equal_in_both_parents_are_looked_at_too(lambdas):
    source = memory_source({"w": with_value(np.inf)})
    with pytest.raises(NonFinite, match="'w' of the base"):
        run_sweep(source, source, lambdas, policies=REFUSE_NON_FINITE)


@pytest.mark.parametrize("role", ["base", "instruct"])
def test_tensors_that_are_only_copied_are_looked_at_too(role):
    plain, odd = {"w": float_tensor(WEIGHT, "BF16")}, {"w": float_tensor(WEIGHT, "BF16"), "only": with_value(np.nan)}
    base, instruct = (memory_source(odd if side == role else plain) for side in ("base", "instruct"))
    assert_is_refused((base, instruct, None), "only", role, (1, 0), policies={"one_sided": "copy"})


@pytest.mark.parametrize("role", ["base", "instruct"])
def test_rows_that_only_one_parent_has_are_looked_at_too(role):
    longer, shorter = {EMBEDDING: with_value(np.inf)}, {EMBEDDING: float_tensor(WEIGHT[:50], "BF16")}
    base, instruct = (memory_source(longer if side == role else shorter) for side in ("base", "instruct"))
    policies = {"extra_rows": "copy", "tokens": "ignore"}
    assert_is_refused((base, instruct, None), EMBEDDING, role, (0, 1), policies=policies)


def coded(code: int = 0x38, scale: float = 0.01) -> dict[str, Tensor]:
    codes = np.full((90, 101), 0x38, np.uint8)
    codes[80, 3] = code
    return {"w": ("F8_E4M3", (90, 101), codes.tobytes()), "w_scale_inv": float_tensor(np.full((90, 1), scale), "F32")}


@pytest.mark.parametrize("role", ["base", "instruct"])
@pytest.mark.parametrize(("odd", "counts"), [(coded(code=0x7F), (1, 0)), (coded(code=0xFF), (1, 0))])
def test_codes_that_are_nan_are_refused(role, odd, counts):
    base, instruct = (memory_source(odd if side == role else coded()) for side in ("base", "instruct"))
    assert_is_refused((base, instruct, None), "w", role, counts)


@pytest.mark.parametrize("scale", [np.nan, np.inf, 3e38])
def test_scales_that_make_codes_infinite_or_nan_are_refused(scale):
    """448 times the largest scale is no float32 any more."""
    stored = coded(code=0x7E)
    scales = np.full((90, 1), 0.01)
    scales[80] = scale
    stored["w_scale_inv"] = float_tensor(scales, "F32")
    counts = (101, 0) if np.isnan(scale) else (0, 101 if np.isinf(scale) else 1)
    whole = memory_source(stored), memory_source({"w": float_tensor(WEIGHT, "BF16")})
    with pytest.raises(NonFinite, match="'w' of the base") as refusal:
        run_sweep(*whole, [0.5], chunk_bytes=None, policies=REFUSE_NON_FINITE)
    assert (refusal.value.details["nan"], refusal.value.details["infinite"]) == counts


@pytest.mark.parametrize("special", SPECIALS)
@pytest.mark.parametrize("factor", ["down", "up", "magnitude"])
def test_factors_that_are_not_finite_are_refused_by_the_tensor_they_make(factor, special):
    rng = np.random.default_rng(1)
    values = {
        "down": rng.normal(0, 1, (2, 101)),
        "up": rng.normal(0, 1, (90, 2)),
        "magnitude": rng.uniform(1, 2, 90),
    }
    values[factor].flat[1] = SPECIALS[special][0]
    tensors = {
        "m.lora_A.weight": float_tensor(values["down"], "F32"),
        "m.lora_B.weight": float_tensor(values["up"], "F32"),
        "m.lora_magnitude_vector": float_tensor(values["magnitude"], "F32"),
    }
    base = memory_source({"m.weight": float_tensor(WEIGHT, "BF16")})
    adapter = adapter_source(tensors, r=2, lora_alpha=2, use_dora=True)
    with pytest.raises(NonFinite, match=r"'m\.weight' of the instruct") as refusal:
        run_sweep(base, adapter, [0.5], policies=REFUSE_NON_FINITE)
    assert refusal.value.details["parent"] == "instruct"


def test_an_untouched_tensor_of_an_adapters_base_is_looked_at_too():
    tensors = {
        "m.lora_A.weight": float_tensor(WEIGHT[:2], "F32"),
        "m.lora_B.weight": float_tensor(WEIGHT[:, :2], "F32"),
    }
    base = memory_source({"m.weight": float_tensor(WEIGHT, "BF16"), "norm": with_value(np.nan)})
    assert_is_refused((base, adapter_source(tensors, r=2), None), "norm", "base", (1, 0))


@pytest.mark.parametrize("role", ["base", "instruct", "reference"])
def test_a_chain_names_the_one_of_three(role):
    sides = [with_value(np.inf if side == role else 1.0) for side in ("base", "instruct", "reference")]
    base, tuned, origin = (memory_source({"w": side}) for side in sides)
    assert_is_refused((base, tuned, origin), "w", role, (0, 1))


def test_infinities_that_a_chain_would_cancel_are_refused_all_the_same():
    base, same = memory_source({"w": float_tensor(WEIGHT, "BF16")}), memory_source({"w": with_value(-np.inf)})
    assert_is_refused((base, same, same), "w", "reference", (0, 1))


def test_integers_are_never_taken_for_numbers_that_are_not_finite():
    bits = np.full(5000, 0x7FC0, np.uint16).tobytes()
    tensors = {"w": float_tensor(WEIGHT, "BF16"), "ids": ("I16", (5000,), bits)}
    sweep = run_sweep(memory_source(tensors), memory_source(tensors), [0.5], policies=REFUSE_NON_FINITE)
    assert sweep.tensors(0.5) == tensors


@pytest.mark.parametrize("dtypes", [*((dtype, dtype) for dtype in FLOATS), ("BF16", "F32")], ids="-".join)
@pytest.mark.parametrize("chunk_bytes", [4096, None])
def test_where_they_are_kept_each_tensors_are_counted(rng, dtypes, chunk_bytes):
    sides: list[dict[str, Tensor]] = []
    counts = []
    for dtype in dtypes:
        values = {name: rng.normal(0, 1, 9001) for name in ("a", "b")}
        for held in values.values():
            held[rng.integers(0, 9001, 50)] = np.nan
            held[rng.integers(0, 9001, 30)] = np.inf
            held[rng.integers(0, 9001, 30)] = -np.inf
        sides.append({name: float_tensor(held, dtype) for name, held in values.items()})
        counts.append({name: [int(np.isnan(v).sum()), int(np.isinf(v).sum())] for name, v in values.items()})
    sweep = run_sweep(*map(memory_source, sides), [0.0, 0.5], chunk_bytes=chunk_bytes)
    for name in ("a", "b"):
        found = sweep.sums(name)
        assert (found["base_non_finite"], found["instruct_non_finite"]) == (counts[0][name], counts[1][name])


def test_they_are_counted_over_everything_where_sums_are_sampled(rng):
    values = rng.normal(0, 1, 200_000)
    base = float_tensor(values, "BF16")
    values[[70_000, 150_000, 199_999]] = np.nan
    sources = memory_source({"w": base}), memory_source({"w": float_tensor(values, "BF16")})
    found = run_sweep(*sources, [0.5], statistics="sampled").sums("w")
    assert (found["counted"], found["instruct_non_finite"]) == (65_536, [3, 0])


def overflowed(base: Tensor, instruct: Tensor, lam: float, dtype: str) -> int:
    """Count infinite results of finite parents, by the oracle."""
    result = as_f32((dtype, (), merged(base, instruct, lam, dtype)))
    return int(np.count_nonzero(np.isinf(result) & np.isfinite(as_f32(base)) & np.isfinite(as_f32(instruct))))


def far_apart(rng: np.random.Generator, scale: float, dtype: str) -> tuple[Tensor, Tensor]:
    """Return parents whose numbers reach up to `scale`, some of them infinite."""
    sides = rng.uniform(-scale, scale, (2, 9001))
    sides[:, :3] = np.inf
    base, instruct = (float_tensor(side, dtype) for side in sides)
    return base, instruct


OVERFLOWS: Mapping[str, tuple[float, str, str]] = {
    "float32 to float16": (1.2e5, "F32", "float16"),
    "bfloat16 to float16": (1.2e5, "BF16", "float16"),
    "float32 to bfloat16": (3.4028e38, "F32", "bfloat16"),
    "float16 extrapolated": (6e4, "F16", "auto"),
    "bfloat16 extrapolated": (3e38, "BF16", "auto"),
    "float32 extrapolated": (3e38, "F32", "auto"),
    "float64 in float32": (3e38, "F64", "auto"),
}
OUT = {"bfloat16": "BF16", "float16": "F16"}


@pytest.mark.parametrize("case", OVERFLOWS)
def test_results_too_large_are_counted_exactly_where_they_are_kept(rng, case):
    scale, dtype, out_dtype = OVERFLOWS[case]
    base, instruct = far_apart(rng, scale, dtype)
    lambdas = [0.0, 0.3, 0.9, 1.0, 2.0, -1.0]
    for chunk_bytes in (4096, None):
        sources = memory_source({"w": base}), memory_source({"w": instruct})
        found = run_sweep(*sources, lambdas, out_dtype=out_dtype, chunk_bytes=chunk_bytes).sums("w")["outputs"]
        wanted = [overflowed(base, instruct, lam, OUT.get(out_dtype, dtype)) for lam in lambdas]
        assert [over for *_, over in found] == wanted
        assert max(wanted) > 100


@pytest.mark.parametrize("case", OVERFLOWS)
def test_results_too_large_are_refused_with_tensor_and_lambda(rng, case):
    scale, dtype, out_dtype = OVERFLOWS[case]
    base, instruct = far_apart(rng, scale, dtype)
    sources = memory_source({"other": base, "w": base}), memory_source({"other": base, "w": instruct})
    options = {"out_dtype": out_dtype, "chunk_bytes": None, "policies": REFUSE_OVERFLOW}
    with pytest.raises(OutputOverflow, match=r"at λ = 2\.0: ") as refusal:
        run_sweep(*sources, [2.0], **options)
    details = refusal.value.details
    if out_dtype == "auto":
        assert details == {
            "tensor": "w",
            "lam": 2.0,
            "count": overflowed(base, instruct, 2.0, dtype),
        }
    else:
        assert details["tensor"] in ("other", "w")


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_what_just_fits_is_not_refused(dtype):
    largest = {"F16": 65504.0, "BF16": 3.3895313892515355e38, "F32": 3.4028234663852886e38}[dtype]
    base, instruct = float_tensor([largest, -largest, 0.0], dtype), float_tensor([largest, 0.0, -largest], dtype)
    sweep = run_sweep(
        memory_source({"w": base}), memory_source({"w": instruct}), [0.0, 0.3, 0.7, 1.0], policies=REFUSE_OVERFLOW
    )
    assert all(np.isfinite(as_f32(sweep.tensors(lam)["w"])).all() for lam in sweep.outputs)


def test_infinities_of_a_parent_are_no_overflow():
    base, instruct = with_value(np.inf, "F32"), with_value(-np.inf, "F32", at=3)
    for out_dtype in ("auto", "float16"):
        sweep = run_sweep(
            memory_source({"w": base}),
            memory_source({"w": instruct}),
            [0.0, 0.5, 1.0],
            out_dtype=out_dtype,
            policies=REFUSE_OVERFLOW,
        )
        assert [over for *_, over in sweep.sums("w")["outputs"]] == [0, 0, 0]


def test_tensors_that_are_only_copied_must_fit_too():
    both = {"w": float_tensor(WEIGHT, "F32")}
    sources = memory_source({**both, "only": with_value(1e5, "F32")}), memory_source(both)
    policies = {"one_sided": "copy", **REFUSE_OVERFLOW}
    with pytest.raises(OutputOverflow, match="'only'"):
        run_sweep(*sources, [0.5], out_dtype="float16", policies=policies)


def test_a_chains_results_are_watched_too(rng):
    base, tuned, origin = (float_tensor(rng.uniform(-6e4, 6e4, 5001), "F16") for _ in range(3))
    sources = [memory_source({"w": side}) for side in (base, tuned, origin)]
    with pytest.raises(OutputOverflow, match="'w' at λ = 1"):
        run_sweep(*sources[:2], [1.0], reference=sources[2], policies=REFUSE_OVERFLOW)
    found = run_sweep(*sources[:2], [1.0], reference=sources[2]).sums("w")["outputs"][0][3]
    assert found == np.count_nonzero(np.abs(chained_f32(*map(as_f32, (base, tuned, origin)))) >= 65520)


@pytest.mark.parametrize("policy", ["base", "instruct"])
@pytest.mark.parametrize(("dtype", "other"), [("I64", "I64"), ("U8", "U8"), ("BOOL", "BOOL"), ("I32", "I64")])
def test_integers_may_be_copied_from_either_parent(policy, dtype, other):
    widths = {"I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
    ids = {
        side: (kind, (3001,), bytes([number]) * 3001 * widths[kind])
        for number, (side, kind) in enumerate((("base", dtype), ("instruct", other)))
    }
    base, instruct = normal_pair(np.random.default_rng(1), 5001, "BF16")
    sources = memory_source({"w": base, "ids": ids["base"]}), memory_source({"w": instruct, "ids": ids["instruct"]})
    sweep = run_every_way(*sources, [0.0, 0.5, 1.0], policies={"integers": policy})
    assert [sweep.tensors(lam)["ids"] for lam in sweep.outputs] == [ids[policy]] * 3
    assert sweep.tensors(0.5)["w"][2] == merged(base, instruct, 0.5, "BF16")
