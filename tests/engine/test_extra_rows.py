"""Vocabularies of two sizes: shared rows interpolate, the rest are the longer parent's, and heads may be tied."""

from typing import Any

import numpy as np
import pytest

from tests.engine.oracle import WORD, as_f32, dequantised, differing, encode, merged, merged_elementwise
from tests.engine.sweep import Sweep, float_tensor, memory_source, run_every_way, run_sweep, sha256
from tests.fakes.checkpoints import Tensor
from tests.fakes.source import MemorySource

LAMBDAS = [0.0, 0.3, 0.7, 1.0]
FLOATS = ["BF16", "F16", "F32", "F64"]
OUT = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
POLICIES = {"extra_rows": "copy", "tokens": "ignore"}


def rows_of(tensor: Tensor, first: int, end: int) -> Tensor:
    """Return some of a matrix's rows."""
    dtype, (_, columns), data = tensor
    row_bytes = columns * WORD[dtype]().itemsize
    return dtype, (end - first, columns), data[first * row_bytes : end * row_bytes]


def converted(tensor: Tensor, dtype: str) -> bytes:
    return tensor[2] if tensor[0] == dtype else encode(as_f32(tensor), dtype)


def assert_is_merged(found: Tensor, base: Tensor, instruct: Tensor, lam: float) -> None:
    """Hold one tensor of an output against the lerp of the shared rows, and the longer parent's rest."""
    dtype, shape, data = found
    longer = max(base, instruct, key=lambda tensor: tensor[1][0])
    shared = min(base[1][0], instruct[1][0])
    assert shape == longer[1]
    wanted = merged(rows_of(base, 0, shared), rows_of(instruct, 0, shared), lam, dtype)
    wanted += converted(rows_of(longer, shared, shape[0]), dtype)
    assert differing(data, wanted, dtype) == 0, lam


def digest_of(source: MemorySource, file: str) -> str:
    content = bytearray(source.files()[file].size_bytes)
    source.read_into(file, 0, memoryview(content))
    return sha256(bytes(content))


def assert_digests_are_true(sweep: Sweep, base: MemorySource, instruct: MemorySource) -> None:
    for role, source in (("base", base), ("instruct", instruct)):
        files = [name for name in source.files() if name.endswith(".safetensors")]
        assert sweep.digests_of(role) == {file: digest_of(source, file) for file in files}


def merge(base: dict[str, Tensor], instruct: dict[str, Tensor], **options: Any) -> Sweep:
    sources = memory_source(base), memory_source(instruct)
    sweep = run_every_way(*sources, LAMBDAS, policies=POLICIES, **options)
    assert_digests_are_true(sweep, *sources)
    return sweep


@pytest.mark.parametrize("rows", [(40, 60), (60, 40), (1, 90), (90, 89)], ids=str)
@pytest.mark.parametrize("dtypes", [*((each, each) for each in FLOATS), ("BF16", "F32"), ("F64", "F16")], ids="-".join)
def test_shared_rows_interpolate_and_the_rest_are_copied(rng, dtypes, rows):
    base, instruct = (
        float_tensor(rng.normal(0, 1, (count, 101)), dtype) for count, dtype in zip(rows, dtypes, strict=True)
    )
    sweep = merge({EMBEDDING: base}, {EMBEDDING: instruct})
    for lam in LAMBDAS:
        assert_is_merged(sweep.tensors(lam)[EMBEDDING], base, instruct, lam)


@pytest.mark.parametrize("out_dtype", OUT)
@pytest.mark.parametrize("rows", [(40, 60), (60, 40)], ids=str)
def test_copied_rows_take_the_outputs_dtype(rng, rows, out_dtype):
    base, instruct = (float_tensor(rng.normal(0, 1, (count, 101)), "F32") for count in rows)
    sweep = merge({EMBEDDING: base}, {EMBEDDING: instruct}, out_dtype=out_dtype)
    for lam in LAMBDAS:
        found = sweep.tensors(lam)[EMBEDDING]
        assert found[0] == OUT[out_dtype]
        assert_is_merged(found, base, instruct, lam)


@pytest.mark.parametrize("columns", [1, 2, 3, 1023, 1024, 1025, 2048, 4099])
@pytest.mark.parametrize("rows", [(2, 5), (5, 2), (4, 5)], ids=str)
def test_a_chunk_may_end_anywhere_in_either_part(rng, rows, columns):
    base, instruct = (float_tensor(rng.normal(0, 1, (count, columns)), "BF16") for count in rows)
    sweep = merge({"a": base, EMBEDDING: base, HEAD: base}, {"a": base, EMBEDDING: instruct, HEAD: instruct})
    for lam in LAMBDAS:
        for name in (EMBEDDING, HEAD):
            assert_is_merged(sweep.tensors(lam)[name], base, instruct, lam)


@pytest.mark.parametrize("dtype", FLOATS)
def test_copied_rows_keep_every_bit(rng, dtype):
    width = WORD[dtype]().itemsize
    base, instruct = ((dtype, (rows, 101), rng.bytes(rows * 101 * width)) for rows in (40, 60))
    for parents in ((base, instruct), (instruct, base)):
        sweep = merge(*({EMBEDDING: tensor} for tensor in parents))
        for lam in LAMBDAS:
            assert rows_of(sweep.tensors(lam)[EMBEDDING], 40, 60) == rows_of(instruct, 40, 60)


@pytest.mark.parametrize("dtype", FLOATS)
def test_equal_shared_rows_make_the_output_the_longer_parent_at_every_lambda(rng, dtype):
    """−0.0, NaN and infinities among them: whether they are equal is decided over the shared rows alone."""
    longer = dtype, (90, 101), rng.bytes(90 * 101 * WORD[dtype]().itemsize)
    shorter = rows_of(longer, 0, 50)
    for parents in ((longer, shorter), (shorter, longer)):
        sweep = merge(*({EMBEDDING: tensor} for tensor in parents))
        assert [sweep.tensors(lam)[EMBEDDING] for lam in LAMBDAS] == [longer] * len(LAMBDAS)


@pytest.mark.parametrize("is_base_longer", [False, True])
def test_codes_are_dequantised_in_both_parts(rng, is_base_longer):
    codes = "F8_E4M3", (150, 70), rng.integers(0, 0x7F, 150 * 70, np.uint8).tobytes()
    scales = float_tensor(rng.uniform(0.001, 0.01, (2, 1)), "F32")
    values = dequantised(codes, as_f32(scales).reshape(2, 1), (128, 128))
    shorter = float_tensor(rng.normal(0, 1, (40, 70)), "BF16")
    coded, plain = {EMBEDDING: codes, f"{EMBEDDING}_scale_inv": scales}, {EMBEDDING: shorter}
    sweep = merge(*((coded, plain) if is_base_longer else (plain, coded)))
    base, instruct = (values, shorter) if is_base_longer else (shorter, values)
    for lam in LAMBDAS:
        dtype, shape, data = sweep.tensors(lam)[EMBEDDING]
        begun = merged_elementwise(rows_of(base, 0, 40), as_f32(rows_of(instruct, 0, 40)), lam, dtype)
        assert (shape, data) == ((150, 70), begun + rows_of(values, 40, 150)[2])


def test_sums_run_over_the_shared_rows(rng):
    base, instruct = (float_tensor(rng.normal(0, 1, (rows, 101)), "BF16") for rows in (40, 60))
    found = merge({EMBEDDING: base}, {EMBEDDING: instruct}).sums(EMBEDDING)
    assert (found["elements"], found["counted"]) == (4040, 4040)


TIES = {
    "the base ties": (False, True),
    "the instruct ties": (True, False),
}


@pytest.mark.parametrize("layout", [None, [[HEAD], ["other", EMBEDDING]]], ids=["one file", "two files"])
@pytest.mark.parametrize("rows", [(60, 60), (40, 60), (60, 40)], ids=str)
@pytest.mark.parametrize("tie", TIES)
def test_a_tied_head_is_the_embedding(rng, tie, rows, layout):
    """The embedding's bytes are read for both; the digests are true all the same."""
    parents = []
    for count, has_head in zip(rows, TIES[tie], strict=True):
        names = ["other", EMBEDDING, HEAD] if has_head else ["other", EMBEDDING]
        parents.append(
            {name: float_tensor(rng.normal(0, 1, (count if name != "other" else 9, 101)), "BF16") for name in names}
        )
    sources = [
        memory_source(
            parent,
            layout if has_head else None,
            config={"model_type": "llama", "tie_word_embeddings": not has_head, "vocab_size": count},
        )
        for parent, has_head, count in zip(parents, TIES[tie], rows, strict=True)
    ]
    sweep = run_every_way(*sources, LAMBDAS, policies=POLICIES)
    assert_digests_are_true(sweep, *sources)
    base, instruct = ({**parent, HEAD: parent.get(HEAD, parent[EMBEDDING])} for parent in parents)
    for lam in LAMBDAS:
        found = sweep.tensors(lam)
        assert found.keys() == {"other", EMBEDDING, HEAD}
        for name, tensor in found.items():
            assert_is_merged(tensor, base[name], instruct[name], lam)


def test_heads_tied_on_both_sides_are_written_nowhere(rng):
    parents = [{EMBEDDING: float_tensor(rng.normal(0, 1, (9, 11)), "BF16")} for _ in range(2)]
    sweep = run_sweep(*map(memory_source, parents), LAMBDAS)
    assert list(sweep.tensors(0.3)) == [EMBEDDING]
