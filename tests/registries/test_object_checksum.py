"""A checksum formed from ranges is the whole object's, however the ranges are cut and in whatever order they come."""

import base64
import itertools
import random

import pytest
from awscrt import checksums
from hypothesis import given
from hypothesis import strategies as st

from crossfade_registries.s3.object_checksum import ObjectChecksum

CONTENT = random.Random(1).randbytes(1_000)
STATED = {
    f"Checksum{name}": base64.b64encode(form(CONTENT).to_bytes(size, "big")).decode()
    for name, form, size in (
        ("CRC64NVME", checksums.crc64nvme, 8),
        ("CRC32C", checksums.crc32c, 4),
        ("CRC32", checksums.crc32, 4),
    )
}
NAMES = ("CRC64NVME", "CRC32C", "CRC32")


def add(checksum, start, end, content=CONTENT):
    return checksum.add(start, memoryview(content)[start:end])


@given(cuts=st.sets(st.integers(1, len(CONTENT) - 1), max_size=20), chance=st.randoms(), name=st.sampled_from(NAMES))
def test_ranges_in_any_order_make_the_whole_objects_checksum(cuts, chance, name):
    ranges = list(itertools.pairwise([0, *sorted(cuts), len(CONTENT)]))
    chance.shuffle(ranges)
    checksum = ObjectChecksum(len(CONTENT), [name])
    told = [add(checksum, *each) for each in ranges]
    assert told == [False] * (len(ranges) - 1) + [True]
    assert checksum.differs({f"Checksum{name}": STATED[f"Checksum{name}"]}) is None


@given(at=st.integers(0, len(CONTENT) - 1), cut=st.integers(1, len(CONTENT) - 1), name=st.sampled_from(NAMES))
def test_one_wrong_byte_is_a_difference(at, cut, name):
    wrong = bytearray(CONTENT)
    wrong[at] ^= 1
    checksum = ObjectChecksum(len(CONTENT), [name])
    add(checksum, cut, len(CONTENT), wrong)
    assert add(checksum, 0, cut, wrong)
    field = f"Checksum{name}"
    assert f", the store states {STATED[field]}" in (checksum.differs({field: STATED[field]}) or "")


def test_bytes_that_come_again_count_once():
    checksum = ObjectChecksum(len(CONTENT), None)
    assert [add(checksum, *each) for each in ((0, 400), (0, 400), (100, 200), (400, 1_000), (0, 1_000))] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert checksum.differs(STATED) is None


@pytest.mark.parametrize("ranges", [[(0, 600), (400, 1_000)], [(400, 1_000), (0, 600)], [(200, 300), (0, 1_000)]])
def test_ranges_that_overlap_in_part_never_make_a_checksum(ranges):
    checksum = ObjectChecksum(len(CONTENT), None)
    assert not any(add(checksum, *each) for each in [*ranges, (0, 1_000)])


@pytest.mark.parametrize("kept", [(), ("SHA256",), ("SHA1",)])
def test_nothing_is_asked_of_a_store_that_keeps_none_of_these(kept):
    assert not add(ObjectChecksum(len(CONTENT), kept), 0, len(CONTENT))
