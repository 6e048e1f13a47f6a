"""Shapes, dtypes and files at the edges of the format, and outputs as other programs read them."""

import math

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from crossfade_core.plan import ShardPlan
from crossfade_engine.chunks import iter_chunks
from tests.engine.oracle import merged
from tests.engine.sweep import (
    CHUNK_BYTES,
    decode_file,
    float_tensor,
    memory_source,
    normal_pair,
    plan_of,
    run_sweep,
)
from tests.fakes.checkpoints import Tensor, encode_file
from tests.fakes.source import MemorySource

LAMBDAS = [0.0, 0.4, 1.0]


def tuned(base: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a parent whose floats are all larger by a quarter, and whose other tensors are the same."""
    quarter = {"BF16": 0.25, "F16": 0.25, "F32": 0.25, "F64": 0.25}
    return {
        name: (dtype, shape, float_tensor(np.full(math.prod(shape), quarter[dtype]), dtype)[2])
        if dtype in quarter
        else (dtype, shape, data)
        for name, (dtype, shape, data) in base.items()
    }


def zeros(dtype: str, *shape: int) -> Tensor:
    width = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I64": 8, "U8": 1, "BOOL": 1}[dtype]
    return dtype, shape, bytes(math.prod(shape) * width)


def assert_sweep_is_right(base: dict[str, Tensor], instruct: dict[str, Tensor], **options) -> None:
    sweep = run_sweep(memory_source(base), memory_source(instruct), LAMBDAS, **options)
    for lam in LAMBDAS:
        found = sweep.tensors(lam)
        assert found.keys() == base.keys()
        for name, (dtype, shape, data) in found.items():
            is_float = dtype in ("BF16", "F16", "F32", "F64")
            wanted = merged(base[name], instruct[name], lam, dtype) if is_float else base[name][2]
            assert (shape, data) == (base[name][1], wanted), (name, lam)


@pytest.mark.parametrize(
    "shapes",
    [[()], [(0,)], [(0, 7), (3,)], [(3,), (0,), (5,), (7, 0)], [(1,), (), (1, 1, 1), (0,)], [(2048,), (0,)]],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["BF16", "F64"])
def test_scalars_and_tensors_without_elements_keep_their_place(shapes, dtype):
    base = {f"t{number}": zeros(dtype, *shape) for number, shape in enumerate(shapes)}
    assert_sweep_is_right(base, tuned(base))


def test_a_file_may_hold_no_tensor():
    sweep = run_sweep(memory_source({}), memory_source({}), LAMBDAS)
    assert decode_file(sweep.outputs[0.4]["model.safetensors"]) == {}


def test_a_header_may_be_longer_than_many_chunks():
    base = {f"model.layers.{number}.a_rather_long_name_of_a_tensor.weight": zeros("BF16", 3) for number in range(999)}
    (shard,) = plan_of(memory_source(base), memory_source(base)).shards
    assert len(shard.header) > 20 * CHUNK_BYTES
    assert_sweep_is_right(base, tuned(base))


def test_five_dtypes_share_one_shard():
    base = {
        "flags": ("BOOL", (5,), b"\1\0\1\1\0"),
        "half": zeros("F16", 3, 701),
        "ids": ("I64", (3,), np.arange(3).tobytes()),
        "single": zeros("F32", 1403),
        "double": zeros("F64", 801),
        "brain": zeros("BF16", 5001),
        "bytes": ("U8", (7,), bytes(range(7))),
    }
    assert_sweep_is_right(base, tuned(base))
    assert_sweep_is_right(base, tuned(base), out_dtype="float32")


@pytest.mark.parametrize("shift", range(1, 8))
@pytest.mark.parametrize("dtype", ["BF16", "F32", "F64"])
def test_tensors_may_lie_at_odd_offsets_of_old_files(dtype, shift):
    """A header of any length, and a few bytes of another tensor first, as writers before safetensors 0.3 left them."""
    base, instruct = normal_pair(np.random.default_rng(1), 5001, dtype)
    sources = []
    for tensor, other in ((base, shift), (instruct, 8 - shift)):
        content = encode_file({"flags": ("BOOL", (3,), b"\1\0\1"), "w": tensor})
        length = int.from_bytes(content[:8], "little")
        padded = (length + other).to_bytes(8, "little") + content[8 : 8 + length] + b" " * other + content[8 + length :]
        sources.append(MemorySource({"model.safetensors": padded}))
    sweep = run_sweep(*sources, LAMBDAS)
    assert [sweep.tensors(lam)["w"][2] for lam in LAMBDAS] == [merged(base, instruct, lam, dtype) for lam in LAMBDAS]


def test_chunks_cover_the_file_and_split_no_element():
    base = {"a": zeros("BF16", 4097), "b": zeros("F64", 700), "c": zeros("U8", 5), "d": zeros("F32", 0, 2)}
    (shard,) = plan_of(memory_source(base), memory_source(tuned(base))).shards
    for chunk_bytes in (4096, 8192, 1 << 20):
        covered = b"".join(chunk.header for chunk in iter_chunks(shard, chunk_bytes))
        assert covered == shard.header
        spans = [
            (chunk.index * chunk_bytes + segment.offset, segment.size_bytes, segment.row)
            for chunk in iter_chunks(shard, chunk_bytes)
            for segment in chunk.segments
        ]
        assert spans[0][0] == len(shard.header)
        assert [start + size for start, size, _ in spans] == [start for start, _, _ in spans[1:]] + [shard.size_bytes]
        widths = {"BF16": 2, "F64": 8, "U8": 1}
        assert all((start - row.start) % widths[row.out_dtype] == 0 for start, _, row in spans)


@pytest.mark.parametrize("out_dtype", ["auto", "float32"])
def test_outputs_load_with_the_safetensors_library(tmp_path, out_dtype):
    shapes = {"w": (7, 501), "bias": (501,), "scale": (), "empty": (0, 4)}
    pairs = {name: normal_pair(np.random.default_rng(1), math.prod(shape), "F16") for name, shape in shapes.items()}
    base, instruct = ({name: ("F16", shapes[name], pair[side][2]) for name, pair in pairs.items()} for side in (0, 1))
    sweep = run_sweep(memory_source(base), memory_source(instruct), LAMBDAS, out_dtype=out_dtype)
    written, numpy_dtype = ("F16", np.float16) if out_dtype == "auto" else ("F32", np.float32)
    for lam in LAMBDAS:
        path = tmp_path / f"{lam}.safetensors"
        path.write_bytes(sweep.outputs[lam]["model.safetensors"])
        with safe_open(path, "np") as opened:
            assert opened.metadata() == {"format": "pt"}
        loaded = load_file(path)
        assert {name: (array.dtype, array.shape) for name, array in loaded.items()} == {
            name: (numpy_dtype, shape) for name, shape in shapes.items()
        }
        for name, array in loaded.items():
            assert array.tobytes() == merged(base[name], instruct[name], lam, written)


def test_a_plan_from_the_store_gives_the_same_chunks():
    base = {"a": zeros("BF16", 4097), "b": zeros("F64", 700)}
    (shard,) = plan_of(memory_source(base), memory_source(base)).shards
    again = ShardPlan.from_record(shard.as_record())
    assert list(iter_chunks(again, CHUNK_BYTES)) == list(iter_chunks(shard, CHUNK_BYTES))
