"""JSON that a stranger wrote costs no more than is told of it, and lists of its names stay short."""

import tracemalloc

import pytest

from crossfade_core.errors import CheckpointError
from crossfade_core.untrusted_json import listed, load_object


@pytest.mark.parametrize("piece", ["[]", '{"":0}', '{"":{}}', "0", "1e9", '""', "[[[]]]"])
def test_parsing_takes_no_more_memory_than_its_docstring_tells(piece):
    raw = f'{{"a": [{",".join([piece] * 100_000)}]}}'.encode()
    tracemalloc.start()
    try:
        load_object(raw, "file", CheckpointError)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 36 * len(raw)


def test_list_of_names_is_as_long_as_asked_and_counts_the_others():
    assert listed({"b", "a"}, 2) == "a, b"
    assert listed([f"{number:03}" for number in range(100)], 3) == "000, 001, 002 and 97 more"
