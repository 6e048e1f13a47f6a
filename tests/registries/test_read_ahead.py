"""Whatever is expected and in whatever order it is read, the bytes are right, and a plain pass fetches each once."""

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade_core.errors import SourceError, SourceUnavailable
from crossfade_registries.read_ahead import ReadAhead
from tests.registries.ranged_files import CONTENT, Registry
from tests.system.serving import wait_for

BLOCK = 256
AT_ONCE = 3


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture(autouse=True)
def _every_thread_ends():
    wait_for(lambda: not threads(), 60)  # of tests elsewhere
    yield
    wait_for(lambda: not threads(), 60)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


@contextlib.contextmanager
def opened(registry, **options):
    with contextlib.closing(ReadAhead(registry.fetch, **{"block_bytes": BLOCK, "at_once": AT_ONCE} | options)) as ahead:
        yield ahead


def read(ahead, file, start, end):
    content = bytearray(end - start)
    ahead.read_into(file, start, memoryview(content))
    return bytes(content)


def is_right(ahead, file, start, end):
    return read(ahead, file, start, end) == CONTENT[file][start:end]


@st.composite
def spans(draw):
    """Disjoint spans of both files, in file order in each, interleaved."""
    drawn = {}
    for file, content in CONTENT.items():
        cuts = sorted(draw(st.sets(st.integers(0, len(content)), max_size=12)))
        drawn[file] = [(file, start, end) for start, end in itertools.pairwise(cuts) if draw(st.booleans())]
    order = draw(st.permutations(["a"] * len(drawn["a"]) + ["b"] * len(drawn["b"])))
    iterators = {file: iter(found) for file, found in drawn.items()}
    return [next(iterators[file]) for file in order]


@settings(max_examples=150)
@given(
    spans=spans(),
    sizes=st.lists(st.integers(1, 700), min_size=1),
    block=st.integers(1, 600),
    at_once=st.integers(1, 4),
)
def test_plain_pass_gets_the_right_bytes_fetches_each_once_and_holds_little(spans, sizes, block, at_once):
    registry, size = Registry(), itertools.cycle(sizes)
    with opened(registry, block_bytes=block, at_once=at_once) as ahead:
        ahead.expect(spans)
        for file, at, end in spans:
            while at < end:
                stop = min(end, at + next(size))
                assert is_right(ahead, file, at, stop)
                at = stop  # noqa: PLW2901
    for file in CONTENT:
        wanted = Counter(at for name, start, end in spans if name == file for at in range(start, end))
        assert registry.times(file) == wanted
    assert len(registry.buffers) <= at_once + 1
    assert registry.most_under_way <= at_once + 1


@settings(max_examples=100)
@given(
    spans=spans(),
    reads=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2_999), st.integers(0, 900)), max_size=30),
)
def test_any_reads_in_any_order_get_the_right_bytes(spans, reads):
    registry = Registry()
    with opened(registry) as ahead:
        ahead.expect(spans)
        for file, start, size in reads:
            assert is_right(ahead, file, start, min(start + size, len(CONTENT[file])))
    assert len(registry.buffers) <= AT_ONCE + 1


def test_as_many_as_allowed_are_fetched_before_anything_is_read_and_then_no_more(registry):
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 5_000)])
        wait_for(lambda: len(registry.fetched) == AT_ONCE + 1 and not registry.under_way, 60)
        time.sleep(0.05)
        assert sorted(registry.fetched) == [("a", at, at + BLOCK) for at in range(0, (AT_ONCE + 1) * BLOCK, BLOCK)]
        assert registry.most_under_way <= AT_ONCE


def test_blocks_are_fetched_at_the_same_time(registry):
    registry.gate.clear()
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 5_000)])
        wait_for(lambda: registry.under_way == AT_ONCE, 60)
        registry.gate.set()
        assert is_right(ahead, "a", 0, 5_000)


def test_what_lies_between_spans_is_fetched_only_when_asked_for(registry):
    with opened(registry) as ahead:
        ahead.expect([("a", 100, 200), ("a", 300, 400)])
        assert is_right(ahead, "a", 50, 450)
    assert registry.times("a") == Counter(range(50, 450))
    assert {("a", 50, 100), ("a", 200, 300), ("a", 400, 450)} <= set(registry.fetched)


def test_adjacent_spans_are_fetched_together(registry):
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 100), ("a", 100, 200), ("a", 200, 256)])
        assert is_right(ahead, "a", 0, 256)
    assert registry.fetched == [("a", 0, 256)]


def test_reading_the_far_end_first_neither_waits_nor_fetches_twice(registry):
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 5_000)])
        assert is_right(ahead, "a", 4_000, 4_100)
        assert is_right(ahead, "a", 0, 4_000)
        assert is_right(ahead, "a", 4_100, 5_000)
    assert registry.times("a") == Counter(range(5_000))


def test_blocks_that_nobody_reads_do_not_hold_up_those_behind(registry):
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 5_000), ("b", 0, 3_000)])
        wait_for(lambda: len(registry.fetched) == AT_ONCE + 1, 60)
        assert is_right(ahead, "b", 0, 3_000)
    assert registry.times("b") == Counter(range(3_000))


def test_failed_fetch_is_raised_by_the_read_that_needs_it_and_the_next_read_tries_again(registry):
    registry.failures["a", BLOCK] = 1
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 5_000)])
        wait_for(lambda: registry.failures["a", BLOCK] == 0, 60)
        assert is_right(ahead, "a", 0, BLOCK)
        with pytest.raises(SourceUnavailable, match="a at 256"):
            read(ahead, "a", BLOCK, BLOCK + 10)
        assert is_right(ahead, "a", BLOCK, 5_000)
    assert len(registry.buffers) <= AT_ONCE + 1


def test_failure_of_what_is_not_needed_is_nobodys(registry):
    registry.failures["a", 2 * BLOCK] = 1
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 4 * BLOCK)])
        assert is_right(ahead, "a", 0, 2 * BLOCK)


def test_fault_that_is_no_error_of_ours_reaches_the_reader_too():
    def broken(file, offset, buffer):
        raise ZeroDivisionError(file)

    with contextlib.closing(ReadAhead(broken)) as ahead:
        ahead.expect([("a", 0, 10)])
        with pytest.raises(ZeroDivisionError):
            read(ahead, "a", 0, 10)


def test_new_expectation_replaces_the_old(registry):
    registry.gate.clear()
    with opened(registry) as ahead:
        ahead.expect([("a", 0, 5_000)])
        wait_for(lambda: registry.under_way == AT_ONCE, 60)
        ahead.expect([("b", 0, 3_000)])
        registry.gate.set()
        assert is_right(ahead, "b", 0, 3_000)
    assert sum(registry.times("a").values()) == AT_ONCE * BLOCK
    assert registry.times("b") == Counter(range(3_000))
    assert len(registry.buffers) <= AT_ONCE + 1


def test_no_thread_starts_before_something_is_expected(registry):
    with opened(registry) as ahead:
        assert is_right(ahead, "a", 0, 10)
        ahead.expect([])
        assert threads() == []
        ahead.expect([("a", 0, 5_000)])
        assert len(threads()) == AT_ONCE


def test_close_waits_for_no_fetch_and_leaves_no_reader_waiting(registry):
    registry.gate.clear()
    with opened(registry) as ahead, ThreadPoolExecutor(1) as pool:
        ahead.expect([("a", 0, 5_000)])
        wait_for(lambda: registry.under_way == AT_ONCE, 60)
        reader = pool.submit(is_right, ahead, "a", 0, 100)
        ahead.close()
        with pytest.raises(SourceError, match="a: closed while it was read"):
            reader.result(10)
        registry.gate.set()


def test_threads_that_read_the_same_bytes_all_get_them(registry):
    def work(seed):
        chance = random.Random(seed)
        edges = [0, *sorted(chance.sample(range(1, 5_000), 40)), 5_000]
        together.wait(30)
        return all(is_right(ahead, "a", start, end) for start, end in itertools.pairwise(edges))

    together = threading.Barrier(6)
    with opened(registry) as ahead, ThreadPoolExecutor(6) as pool:
        ahead.expect([("a", 0, 5_000)])
        assert all(pool.map(work, range(6)))
    assert len(registry.buffers) <= AT_ONCE + 1
