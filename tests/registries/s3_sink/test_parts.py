"""Parts are few enough for the store, and few enough in memory."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from crossfade_registries.s3.checksums import CHECKSUMS
from crossfade_registries.s3.parts import MAX_PARTS, PARTS_AT_ONCE, PartBuffers, part_bytes_for
from crossfade_registries.settings import MAX_PART_BYTES, MIN_PART_BYTES
from tests.registries.s3_sink.publishing import PART_BYTES, SHARD

TEBIBYTE = 1 << 40


@given(st.integers(1, 5 * TEBIBYTE), st.integers(MIN_PART_BYTES, MAX_PART_BYTES))
def test_no_file_has_more_parts_than_a_store_takes(size_bytes, configured):
    part_bytes = part_bytes_for(size_bytes, configured)
    assert part_bytes * MAX_PARTS >= size_bytes
    assert part_bytes == configured or (configured * MAX_PARTS < size_bytes and part_bytes % (1 << 20) == 0)


def test_parts_are_as_configured_up_to_ten_thousand_of_them():
    assert part_bytes_for(MAX_PARTS * PART_BYTES, PART_BYTES) == PART_BYTES
    assert part_bytes_for(MAX_PARTS * PART_BYTES + 1, PART_BYTES) == PART_BYTES + (1 << 20)


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_crc_of_the_whole_follows_from_those_of_the_parts(content, part_bytes):
    checksum = CHECKSUMS["crc64nvme"]
    parts = [content[at : at + part_bytes] for at in range(0, len(content), part_bytes)]
    values = [(checksum.value(memoryview(part)), len(part)) for part in parts]
    assert checksum.whole(values) == checksum.value(memoryview(content))


def test_buffers_are_one_for_each_writer_and_one_for_each_part_being_sent():
    buffers = PartBuffers()
    for _ in range(2):
        buffers.open_writer()
    held = [buffers.take(100) for _ in range(2 + PARTS_AT_ONCE)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(buffers.take, 100)
        time.sleep(0.05)
        assert not waiting.done()
        buffers.give(held[3])
        assert waiting.result(30) is held[3]


def test_buffer_of_another_size_is_not_given_out():
    buffers = PartBuffers()
    buffers.open_writer()
    short = buffers.take(8192)
    short.resize(4096)
    buffers.give(short)
    again = buffers.take(8192)
    assert again is not short
    assert (again.tell(), len(again)) == (0, 8192)


def test_no_buffer_is_kept_when_nobody_writes():
    buffers = PartBuffers()
    buffers.open_writer()
    first = buffers.take(100)
    buffers.give(first)
    buffers.close_writer()
    buffers.open_writer()
    assert buffers.take(100) is not first


def test_writer_waits_for_a_store_that_is_slower(moto_store):
    released = threading.Event()

    def hold(**_: object) -> None:
        released.wait(120)

    events = moto_store.rig.proxied.meta.events
    events.register("before-call.s3.UploadPart", hold, unique_id="hold")
    parts = PARTS_AT_ONCE + 4
    writer = moto_store.sink().create_file("tuned", SHARD, parts * PART_BYTES)
    accepted = []

    def write() -> None:
        block = memoryview(bytes(PART_BYTES))
        for _ in range(parts):
            writer.write(block)
            accepted.append(len(block))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while len(accepted) < PARTS_AT_ONCE + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(accepted) == PARTS_AT_ONCE + 1
    finally:
        released.set()
        thread.join(120)
        events.unregister("before-call.s3.UploadPart", unique_id="hold")
    assert len(accepted) == parts
    writer.abandon()
