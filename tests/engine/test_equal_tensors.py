"""Identical tensors keep their bytes for every λ; whether a tensor is identical is a fact of the whole of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.errors import TensorsDiffer
from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Resources, merge_shard
from crossfade_engine.terms import Terms
from tests.engine.oracle import differing, merged
from tests.engine.sweep import CHUNK_BYTES, float_tensor, memory_source, parents_of, plan_of, run_sweep
from tests.fakes.sink import MemoryWriter

FLOATS = ["BF16", "F16", "F32", "F64"]
SPECIALS = [0.1, -0.0, 0.0, np.inf, -np.inf, np.nan, 1e-300, -1e-300, 1.0 + 2**-40, 1e300]
LAMBDAS = [0.0, 0.3, 0.7, 1.0, 1.5]


@pytest.mark.parametrize("dtype", FLOATS)
def test_identical_tensors_keep_their_bytes_for_every_lambda(dtype):
    tensor = dtype, (40_001,), np.random.default_rng(1).bytes(40_001 * {"F32": 4, "F64": 8}.get(dtype, 2))
    sweep = run_sweep(memory_source({"w": tensor}), memory_source({"w": tensor}), LAMBDAS)
    assert [sweep.tensors(lam)["w"] for lam in LAMBDAS] == [tensor] * len(LAMBDAS)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("special", SPECIALS)
def test_one_difference_at_the_far_end_makes_the_whole_tensor_computed(dtype, special):
    """−0.0, infinities and excess precision before it become what torch.lerp makes of them, chunks away."""
    values = np.full(5 * CHUNK_BYTES, 0.25)
    values[7] = special
    base = float_tensor(values, dtype)
    values[-1] = 3.0
    instruct = float_tensor(values, dtype)
    for chunk_bytes in (CHUNK_BYTES, None):
        sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), LAMBDAS, chunk_bytes=chunk_bytes)
        for lam in LAMBDAS:
            assert differing(sweep.tensors(lam)["w"][2], merged(base, instruct, lam, dtype), dtype) == 0, lam


@given(
    special=st.sampled_from(SPECIALS),
    at=st.integers(0, 4 * CHUNK_BYTES),
    first_difference=st.integers(0, 4 * CHUNK_BYTES),
    dtype=st.sampled_from(FLOATS),
)
def test_neither_the_special_value_nor_the_difference_is_tied_to_a_chunk(special, at, first_difference, dtype):
    values = np.full(4 * CHUNK_BYTES + 1, 0.25)
    values[at] = special
    base = float_tensor(values, dtype)
    values[first_difference] = 3.0
    instruct = float_tensor(values, dtype)
    parents = memory_source({"w": base}), memory_source({"w": instruct})
    assert run_sweep(*parents, [0.3]).outputs == run_sweep(*parents, [0.3], chunk_bytes=None).outputs


@pytest.mark.parametrize("out_dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_identical_tensors_are_only_rounded_where_the_output_has_another_dtype(dtype, out_dtype):
    tensor = float_tensor(SPECIALS * 1000, dtype)
    sweep = run_sweep(memory_source({"w": tensor}), memory_source({"w": tensor}), LAMBDAS, out_dtype=out_dtype)
    for lam in LAMBDAS:
        written, _, data = sweep.tensors(lam)["w"]
        assert differing(data, merged(tensor, tensor, lam, written), written) == 0


def test_the_same_bytes_of_another_dtype_are_not_identical():
    base, instruct = (("BF16", (501,), bytes(range(1, 7)) * 167), ("F16", (501,), bytes(range(1, 7)) * 167))
    sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), [0.5])
    assert sweep.tensors(0.5)["w"][2] == merged(base, instruct, 0.5, "BF16")


@pytest.mark.parametrize("dtype", ["BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"])
def test_equal_integers_and_booleans_are_copied(dtype):
    width = 1 if dtype == "BOOL" else int(dtype[1:]) // 8
    data = bytes(9001 * width) if dtype == "BOOL" else np.random.default_rng(1).bytes(9001 * width)
    tensors = {"w": float_tensor([1.0], "BF16"), "ids": (dtype, (9001,), data)}
    sweep = run_sweep(memory_source(tensors), memory_source(tensors), [0.0, 0.5, 1.0], out_dtype="float32")
    assert [sweep.tensors(lam)["ids"] for lam in sweep.outputs] == [tensors["ids"]] * 3


@pytest.mark.parametrize("position", [0, 4096 * 3, 39_999])
def test_differing_integers_are_refused_by_name_and_nothing_is_finished(position):
    ids = bytearray(40_000)
    base = {"w": float_tensor([1.0, 2.0], "F32"), "rotary.ids": ("U8", (40_000,), bytes(ids))}
    ids[position] = 1
    instruct = {"w": float_tensor([1.0, 2.0], "F32"), "rotary.ids": ("U8", (40_000,), bytes(ids))}
    sources = memory_source(base, [["w"], ["rotary.ids"]]), memory_source(instruct)
    (shard,) = plan_of(*sources).shards
    writers = [MemoryWriter(shard.size_bytes) for _ in range(3)]
    outputs = list(zip([0.0, 0.5, 1.0], writers, strict=True))
    parents, resources = parents_of(*sources), Resources(CpuDevice(), 2, CHUNK_BYTES)
    with pytest.raises(
        TensorsDiffer, match=r"rotary\.ids.*model-00002-of-00002\.safetensors.* model\.safetensors"
    ) as refusal:
        merge_shard(shard, parents, outputs, Terms(), resources=resources, on_tick=lambda _: None)
    assert refusal.value.details["tensor"] == "rotary.ids"
    assert [writer.state for writer in writers] == ["abandoned"] * 3
