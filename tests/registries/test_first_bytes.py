"""What a file begins with is fetched once, and never more of it than was asked for or is kept."""

import random

import pytest

from crossfade_registries.first_bytes import FIRST_BYTES, FirstBytes

FILES = {"small": b"{}", "large": random.Random(1).randbytes(2 * FIRST_BYTES)}


class Registry:
    def __init__(self):
        self.fetched = []

    def fetch(self, file, offset, buffer):
        self.fetched.append((file, offset, len(buffer)))
        buffer[:] = FILES[file][offset : offset + len(buffer)]


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def first(registry):
    return FirstBytes(registry.fetch)


def read(first: FirstBytes, file: str, offset: int, size_bytes: int) -> tuple[bytes, int]:
    content = bytearray(size_bytes)
    done = first.read_into(file, len(FILES[file]), offset, memoryview(content))
    return bytes(content[:done]), done


def test_ranges_among_the_first_bytes_are_one_fetch(registry, first):
    for offset, size in [(0, 8), (8, 1_000), (FIRST_BYTES - 5, 5), (0, FIRST_BYTES)]:
        assert read(first, "large", offset, size) == (FILES["large"][offset : offset + size], size)
    assert registry.fetched == [("large", 0, FIRST_BYTES)]


def test_file_smaller_than_what_is_kept_is_kept_whole(registry, first):
    assert read(first, "small", 1, 1) == (b"}", 1)
    assert read(first, "small", 0, 2) == (b"{}", 2)
    assert registry.fetched == [("small", 0, 2)]


def test_range_that_goes_on_is_filled_as_far_as_an_earlier_one_left_bytes(registry, first):
    assert read(first, "large", 8, FIRST_BYTES) == (b"", 0)
    assert registry.fetched == []
    read(first, "large", 0, 8)
    assert read(first, "large", 8, FIRST_BYTES) == (FILES["large"][8:FIRST_BYTES], FIRST_BYTES - 8)
    assert read(first, "large", FIRST_BYTES, 8) == (b"", 0)
    assert len(registry.fetched) == 1


def test_reading_nothing_fetches_nothing(registry, first):
    assert read(first, "small", 0, 0) == (b"", 0)
    assert registry.fetched == []


def test_fetch_that_failed_is_made_again(registry):
    def fail_once(file, offset, buffer):
        registry.fetch(file, offset, buffer)
        if len(registry.fetched) == 1:
            raise ConnectionError

    first = FirstBytes(fail_once)
    with pytest.raises(ConnectionError):
        read(first, "small", 0, 2)
    assert read(first, "small", 0, 2) == (b"{}", 2)
