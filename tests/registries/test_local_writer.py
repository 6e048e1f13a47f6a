"""A staged file holds every byte given to it, past the page cache or through it, or is not there at all."""

import collections
import mmap
import random

import pytest

from crossfade_core.errors import SinkUnavailable
from crossfade_registries.local.sink import LocalSink
from tests.registries.staging import DISK_BYTES, JOB, content, facts, publish

BLOCK = 4096


def page_aligned(data: bytes) -> memoryview:
    room = memoryview(mmap.mmap(-1, max(len(data), 1)))
    room[: len(data)] = data
    return room[: len(data)]


def unaligned(data: bytes) -> memoryview:
    return page_aligned(b"!" + data)[1:]


@pytest.mark.parametrize("place", [page_aligned, unaligned])
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [1],
        [BLOCK - 1],
        [BLOCK],
        [BLOCK + 1],
        [2 * BLOCK, BLOCK, 7],
        [BLOCK, 7, BLOCK, 2 * BLOCK],
        [0, BLOCK, 0, 1],
        [1 << 20, 1 << 20, 12_345],
    ],
)
def test_direct_and_buffered_writes_give_the_same_bytes(out, pieces, direct, place):
    data = random.Random(len(pieces)).randbytes(sum(pieces))
    sink = LocalSink(out, JOB, direct=direct)
    writer = sink.create_file("tuned", "model.safetensors", len(data))
    position = 0
    for size in pieces:
        buffer = place(data[position : position + size])
        writer.write(buffer)
        buffer[:] = b"\xff" * size  # the caller may reuse it
        position += size
    writer.finish("")
    sink.commit("tuned", facts({"model.safetensors": data}))
    assert (out / "tuned/model.safetensors").read_bytes() == data


def test_abandon_leaves_nothing_and_may_come_at_any_time(out):
    sink = LocalSink(out, JOB)
    fresh, written, finished = (sink.create_file("tuned", file, 2) for file in ("a", "b", "c"))
    written.write(memoryview(b"{}"))
    finished.write(memoryview(b"{}"))
    finished.finish("")
    for writer in (fresh, written, finished):
        writer.abandon()
        writer.abandon()
    assert sink.commit("tuned", facts({"c": b"{}"}))
    sink.discard()
    assert content(out) == {"tuned/c": b"{}"}


@pytest.mark.parametrize("direct", [True, False])
def test_full_disk_is_told_with_its_file_and_leaves_nothing(small_disk, direct):
    sink = LocalSink(small_disk, JOB, direct=direct)
    writer = sink.create_file("tuned", "model.safetensors", 2 * DISK_BYTES)
    block = page_aligned(b"x" * (DISK_BYTES // 8))
    with pytest.raises(SinkUnavailable, match=r"No space left|File too large") as caught:
        collections.deque((writer.write(block) for _ in range(16)), maxlen=0)
    assert caught.value.message.startswith(f"{small_disk / 'tuned' / 'model.safetensors'}: writing failed after ")
    assert caught.value.details["file"] == "model.safetensors"
    assert caught.value.retryable
    writer.abandon()
    sink.discard()
    assert list(small_disk.iterdir()) == []
    publish(sink, "tuned")
    assert (small_disk / "tuned").is_dir()
