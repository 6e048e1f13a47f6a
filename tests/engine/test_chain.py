"""A chain: M = base + λ·(A − B), where A and B may have nothing to do with the base but their shapes."""

import numpy as np
import pytest

from tests.engine.oracle import WORD, as_f32, chained_f32, dequantised, differing, merged_elementwise
from tests.engine.sweep import (
    Sweep,
    float_tensor,
    memory_source,
    normal_pair,
    run_every_way,
    run_sweep,
    sha256,
)
from tests.fakes.checkpoints import Tensor

LAMBDAS = [0.0, 0.3, 0.7, 1.0, 1.5, -0.5]
FLOATS = ["BF16", "F16", "F32", "F64"]
OUT = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
Three = tuple[Tensor, Tensor, Tensor]


def any_bits(rng: np.random.Generator, dtype: str, elements: int) -> Tensor:
    """Return NaN of every payload, infinities, subnormals, both zeros."""
    return dtype, (elements,), rng.bytes(elements * WORD[dtype]().itemsize)


def three(rng: np.random.Generator, elements: int, dtypes: tuple[str, str, str]) -> Three:
    """Return base, A and B as they occur, a third of A's elements being B's."""
    base = float_tensor(rng.normal(0, 0.02, elements), dtypes[0])
    origin = float_tensor(rng.normal(0, 0.02, elements), dtypes[2])
    tuned = as_f32(origin) + np.where(rng.random(elements) < 1 / 3, 0, rng.normal(0, 0.002, elements))
    return base, float_tensor(tuned, dtypes[1]), origin


def run_chain(tensors: Three, lambdas: list[float], **options) -> Sweep:
    base, tuned, origin = (memory_source({"w": tensor}) for tensor in tensors)
    return run_every_way(base, tuned, lambdas, reference=origin, **options)


def assert_is_chained(sweep: Sweep, tensors: Three) -> None:
    instruct_f32 = chained_f32(*map(as_f32, tensors))
    for lam in sweep.outputs:
        dtype, _, data = sweep.tensors(lam)["w"]
        assert differing(data, merged_elementwise(tensors[0], instruct_f32, lam, dtype), dtype) == 0, lam


@pytest.mark.parametrize("out_dtype", ["auto", *OUT])
@pytest.mark.parametrize(
    "dtypes",
    [(dtype, dtype, dtype) for dtype in FLOATS]
    + [("BF16", "F16", "F32"), ("F32", "F64", "BF16"), ("F64", "BF16", "F16")],
    ids="-".join,
)
def test_every_element_is_the_base_and_the_difference(rng, dtypes, out_dtype):
    tensors = three(rng, 9001, dtypes)
    sweep = run_chain(tensors, LAMBDAS, out_dtype=out_dtype)
    assert {sweep.tensors(lam)["w"][0] for lam in LAMBDAS} == {OUT.get(out_dtype, dtypes[0])}
    assert_is_chained(sweep, tensors)


@pytest.mark.parametrize("dtype", FLOATS)
def test_whatever_bits_there_are(rng, dtype):
    tensors = any_bits(rng, dtype, 9001), any_bits(rng, dtype, 9001), any_bits(rng, dtype, 9001)
    assert_is_chained(run_chain(tensors, LAMBDAS), tensors)


@pytest.mark.parametrize("dtype", FLOATS)
def test_where_a_is_b_the_base_keeps_every_bit_at_every_lambda(rng, dtype):
    """Also where both are infinite or NaN, whose difference would be NaN; and where the base is."""
    base, same = any_bits(rng, dtype, 9001), any_bits(rng, dtype, 9001)
    sweep = run_chain((base, same, same), LAMBDAS)
    assert [sweep.tensors(lam)["w"] for lam in LAMBDAS] == [base] * len(LAMBDAS)


@pytest.mark.parametrize("dtype", FLOATS)
def test_that_holds_element_by_element(rng, dtype):
    base, tuned, origin = any_bits(rng, dtype, 9001), any_bits(rng, dtype, 9001), any_bits(rng, dtype, 9001)
    word, is_same = WORD[dtype], rng.random(9001) < 0.5
    mixed = np.where(is_same, *(np.frombuffer(tensor[2], word) for tensor in (origin, tuned)))
    sweep = run_chain((base, (dtype, (9001,), mixed.tobytes()), origin), LAMBDAS)
    for lam in LAMBDAS:
        found, held = (np.frombuffer(tensor[2], word) for tensor in (sweep.tensors(lam)["w"], base))
        assert np.array_equal(found[is_same], held[is_same])


@pytest.mark.parametrize(("out_dtype", "wanted"), [("bfloat16", 0x7FC0), ("float16", 0x7E00)])
def test_a_nan_kept_in_a_narrower_dtype_has_one_form(rng, out_dtype, wanted):
    """Conversions of NaN differ between processors, and between vector and scalar code."""
    payloads = rng.integers(0x7F800001, 0x80000000, 9001, np.uint32) | (rng.integers(0, 2, 9001, np.uint32) << 31)
    base, same = ("F32", (9001,), payloads.tobytes()), any_bits(rng, "F32", 9001)
    sweep = run_chain((base, same, same), LAMBDAS, out_dtype=out_dtype)
    for lam in LAMBDAS:
        assert set(np.frombuffer(sweep.tensors(lam)["w"][2], np.uint16)) == {wanted}


@pytest.mark.parametrize("dtype", FLOATS)
def test_lambda_0_is_the_base_bit_for_bit(rng, dtype):
    tensors = any_bits(rng, dtype, 9001), *normal_pair(rng, 9001, dtype)
    assert run_chain(tensors, [0.0, 0.4]).tensors(0.0)["w"] == tensors[0]


def test_any_of_the_three_may_be_codes(rng):
    shape = (130, 70)
    codes = "F8_E4M3", shape, rng.integers(0, 0x7F, 9100, np.uint8).tobytes()
    scales = float_tensor(rng.uniform(0.001, 0.01, (2, 1)), "F32")
    values = dequantised(codes, as_f32(scales).reshape(2, 1), (128, 128))
    for place in range(3):
        tensors = [float_tensor(rng.normal(0, 1, shape), "F32") for _ in range(3)]
        stored = [{"w": tensor} for tensor in tensors]
        tensors[place], stored[place] = values, {"w": codes, "w_scale_inv": scales}
        base, tuned, origin = map(memory_source, stored)
        assert_is_chained(run_every_way(base, tuned, LAMBDAS, reference=origin), tuple(tensors))


def test_skipped_tensors_keep_every_bit(rng):
    names = ["model.embed_tokens.weight", "model.layers.0.q.weight", "lm_head.weight"]
    parents = [{name: any_bits(rng, "BF16", 5001) for name in names} for _ in range(3)]
    base, tuned, origin = map(memory_source, parents)
    sweep = run_every_way(base, tuned, LAMBDAS, reference=origin, skip=["*embed_tokens*", "lm_head*"])
    for lam in LAMBDAS:
        found = sweep.tensors(lam)
        assert {name: found[name] for name in (names[0], names[2])} == {
            name: parents[0][name] for name in (names[0], names[2])
        }
    tensors = tuple(parent[names[1]] for parent in parents)
    for lam in LAMBDAS:
        wanted = merged_elementwise(tensors[0], chained_f32(*map(as_f32, tensors)), lam, "BF16")
        assert differing(sweep.tensors(lam)[names[1]][2], wanted, "BF16") == 0


@pytest.mark.parametrize(
    "rows", [(64, 64, 50), (64, 50, 64), (64, 50, 60), (50, 64, 50), (50, 64, 70), (64, 64, 70)], ids=str
)
def test_rows_that_not_all_three_have_stay_the_bases(rng, rows):
    """Whoever has the more tokens; the output has the base's rows."""
    name, columns = "model.embed_tokens.weight", 101
    tensors = [float_tensor(rng.normal(0, 1, (count, columns)), "BF16") for count in rows]
    base, tuned, origin = (memory_source({name: tensor}) for tensor in tensors)
    policies = {"extra_rows": "copy", "tokens": "ignore"}
    sweep = run_every_way(base, tuned, LAMBDAS, reference=origin, policies=policies)
    shared = min(rows) * columns
    instruct_f32 = chained_f32(*(as_f32(tensor)[:shared] for tensor in tensors))
    begun = "BF16", (shared,), tensors[0][2][: shared * 2]
    for lam in LAMBDAS:
        dtype, shape, data = sweep.tensors(lam)[name]
        assert shape == (rows[0], columns)
        assert differing(data[: shared * 2], merged_elementwise(begun, instruct_f32, lam, dtype), dtype) == 0
        assert data[shared * 2 :] == tensors[0][2][shared * 2 :]


def test_shards_do_not_change_a_byte_and_digests_are_true(rng):
    names = ["a", "b", "c"]
    parents = [{name: float_tensor(rng.normal(0, 1, 5001), "BF16") for name in names} for _ in range(3)]
    layouts = [None, [["c"], ["a", "b"]], [["b", "c"], ["a"]]]
    together = run_sweep(*map(memory_source, parents[:2]), [0.4], reference=memory_source(parents[2]))
    sources = [memory_source(parent, layout) for parent, layout in zip(parents, layouts, strict=True)]
    apart = run_sweep(sources[0], sources[1], [0.4], reference=sources[2])
    assert apart.tensors(0.4) == together.tensors(0.4)
    for role, source in zip(("base", "instruct", "reference"), sources, strict=True):
        files = {name: info.size_bytes for name, info in source.files().items() if name.endswith(".safetensors")}
        content = {name: bytearray(size) for name, size in files.items()}
        for name, held in content.items():
            source.read_into(name, 0, memoryview(held))
        assert apart.digests_of(role) == {name: sha256(bytes(held)) for name, held in content.items()}
