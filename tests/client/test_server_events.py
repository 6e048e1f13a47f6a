"""Server-sent events, whatever way the stream's bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_client.server_events import ServerEvent, read_events

STREAM = (
    ": a comment\n\n"
    'id: 1\nevent: job.created\ndata: {"a": "\u2028é"}\n\n'
    'event: progress\r\ndata: {"bytes_done": 3}\r\n\r\n'
    'id:2\ndata: {"two":\ndata: "lines"}\nretry: 100\n\n'
).encode()
EVENTS = [
    ServerEvent("job.created", {"a": "\u2028é"}, "1"),
    ServerEvent("progress", {"bytes_done": 3}),
    ServerEvent("message", {"two": "lines"}, "2"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]):
    bounds = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in itertools.pairwise(bounds)]
    assert list(read_events(chunks)) == EVENTS


def test_an_event_that_was_cut_off_is_dropped():
    assert list(read_events([b'id: 1\ndata: {"a": 1}\n'])) == []


@pytest.mark.parametrize("data", ["[1]", "nonsense", "3"])
def test_data_that_is_no_object_is_an_error(data: str):
    with pytest.raises(ValueError, match=r"object|Expecting"):
        list(read_events([f"data: {data}\n\n".encode()]))
