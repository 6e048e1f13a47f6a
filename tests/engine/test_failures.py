"""Whatever goes wrong surfaces as itself, at once; every writer is abandoned and no thread outlives the pass.

"At once" is not measured: the shard is so large that a pass which went on would never end.
"""

import os
import signal
import threading

import pytest

from crossfade_core.errors import JobCancelled, ShortRead, SinkUnavailable, SourceUnavailable
from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Parents, Resources, merge_shard
from tests.engine.sweep import CHUNK_BYTES, KEEPING_TERMS, memory_source, normal_pair, parents_of, plan_of
from tests.fakes.sink import MemoryWriter
from tests.fakes.source import EndlessSource, MemorySource

LAMBDAS = [0.0, 0.3, 0.6, 1.0]
THREADS = [1, 2, 4]
FILE = "model.safetensors"


class Pass:
    """One shard and its writers, ready to be streamed once."""

    def __init__(self, base: MemorySource | EndlessSource, instruct: MemorySource | EndlessSource) -> None:
        (self.shard,) = plan_of(base, instruct).shards
        self.parents = parents_of(base, instruct)
        self.writers = [MemoryWriter(self.shard.size_bytes, is_keeping=False) for _ in LAMBDAS]

    def run(self, threads: int = 2, on_tick=lambda _: None, chunk_bytes: int | None = CHUNK_BYTES) -> None:
        outputs = list(zip(LAMBDAS, self.writers, strict=True))
        resources = Resources(CpuDevice(), threads, chunk_bytes)
        merge_shard(self.shard, self.parents, outputs, KEEPING_TERMS, resources=resources, on_tick=on_tick)

    @property
    def states(self) -> set[str]:
        return {writer.state for writer in self.writers}


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def small(rng) -> Pass:
    """About sixty chunks."""
    base, instruct = normal_pair(rng, 60 * CHUNK_BYTES // 2, "BF16")
    return Pass(memory_source({"w": base}), memory_source({"w": instruct}))


@pytest.fixture
def endless(rng) -> Pass:
    """A terabyte a parent."""
    parents = normal_pair(rng, 1 << 20, "BF16")
    return Pass(*(EndlessSource({"w": ("BF16", 1 << 39)}, data) for _, _, data in parents))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("side", ["base", "instruct"])
@pytest.mark.parametrize("at", [0, 9, 100_000, -1])
def test_a_source_error_surfaces_as_itself(small, side, threads, at):
    source = small.parents.sources[side]
    error = SourceUnavailable("the disk is gone")
    source.fail_at(FILE, at % source.files()[FILE].size_bytes, error)
    with pytest.raises(SourceUnavailable) as raised:
        small.run(threads)
    assert raised.value is error
    assert small.states == {"abandoned"}


@pytest.mark.parametrize("side", ["base", "instruct"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_short_read_is_an_error_never_zeros(small, side, left):
    source = small.parents.sources[side]
    source.cut(FILE, int(source.files()[FILE].size_bytes * left))
    with pytest.raises(ShortRead):
        small.run()
    assert small.states == {"abandoned"}


def test_an_error_of_the_digests_own_reading_finishes_nothing(rng):
    pairs = {name: normal_pair(rng, 9001, "BF16") for name in ("a", "b")}
    base, instruct = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    other_order = memory_source(dict(reversed(base.items())))
    begun = Pass(other_order, memory_source(instruct))
    other_order.fail_at(FILE, 3)  # in the header, which only the digest reads again
    with pytest.raises(SourceUnavailable):
        begun.run()
    assert begun.states == {"abandoned"}


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("number", [0, 1, 30, 60])
def test_a_failing_write_surfaces_as_itself_and_finishes_nothing(small, threads, number):
    """Also the last write of all: the other λ are complete by then."""
    error = SinkUnavailable("no space left on device")
    small.writers[2].fail_at_write(number, error)
    with pytest.raises(SinkUnavailable) as raised:
        small.run(threads)
    assert raised.value is error
    assert small.states == {"abandoned"}


def test_an_unwritable_end_surfaces_and_that_file_is_abandoned(small):
    small.writers[1].fail_at_finish()
    with pytest.raises(SinkUnavailable):
        small.run()
    assert small.writers[1].state == "abandoned"
    assert "open" not in small.states


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("error", [JobCancelled("cancelled"), KeyboardInterrupt(), SystemExit(2)], ids=repr)
def test_whatever_a_tick_raises_ends_the_pass(endless, threads, error):
    def on_tick(_: int) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        endless.run(threads, on_tick, chunk_bytes=None)
    assert raised.value is error
    assert endless.states == {"abandoned"}


def test_ctrl_c_ends_the_pass(endless):
    def on_tick(_: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        endless.run(2, on_tick, chunk_bytes=None)
    assert endless.states == {"abandoned"}


@pytest.mark.parametrize("threads", THREADS)
def test_a_failing_write_ends_a_pass_that_has_far_to_go(endless, threads):
    endless.writers[3].fail_at_write(5)
    with pytest.raises(SinkUnavailable):
        endless.run(threads, chunk_bytes=None)
    assert endless.states == {"abandoned"}


def test_a_failing_source_ends_a_pass_that_has_far_to_go(endless):
    broken = MemorySource({FILE: endless.shard.header})
    sources = {**endless.parents.sources, "instruct": broken}
    parents = Parents(sources, endless.parents.files)
    outputs = list(zip(LAMBDAS, endless.writers, strict=True))
    resources = Resources(CpuDevice(), 2)
    with pytest.raises(ShortRead):
        merge_shard(endless.shard, parents, outputs, KEEPING_TERMS, resources=resources, on_tick=lambda _: None)
    assert endless.states == {"abandoned"}


def test_the_first_of_several_errors_is_the_one_that_surfaces(small):
    first = SinkUnavailable("first")
    small.writers[0].fail_at_write(0, first)
    small.writers[1].fail_at_write(0, SinkUnavailable("second"))
    small.writers[0].delay_seconds, small.writers[1].delay_seconds = 0.3, 3.0
    with pytest.raises(SinkUnavailable) as raised:
        small.run(threads=4)
    assert raised.value is first


def test_ticks_tell_the_bytes_made_and_in_the_end_all_of_them(small):
    told = []
    small.parents.sources["base"].delay_seconds = 0.01
    small.run(2, told.append)
    assert told == sorted(told)
    assert told[-1] == small.shard.size_bytes * len(LAMBDAS)


def test_slow_writers_and_slow_sources_change_nothing_but_time(small):
    small.parents.sources["instruct"].delay_seconds = 0.002
    for number, writer in enumerate(small.writers):
        writer.delay_seconds = 0.001 * number
    small.run(threads=4)
    assert small.states == {"finished"}
