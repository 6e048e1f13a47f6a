"""Threads that share the steps of one pass: load the next chunk into a free slot, or bring one stream one chunk on.

Any thread may do any step; it takes the stream that is furthest behind and not in use. So N λ and the digests of the
inputs spread over any number of threads, no thread waits for a particular other, and nothing depends on their order.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from crossfade_core.plan import ShardPlan
from crossfade_engine.chunks import count_chunks, iter_chunks
from crossfade_engine.loader import SlotLoader
from crossfade_engine.slot import Slot
from crossfade_engine.streams import Scratch, Stream

TICK_SECONDS: Final = 0.25

OnTick = Callable[[int], None]
"""Called about every `TICK_SECONDS` from the calling thread with the output bytes made; an exception ends the pass."""

_Step = Callable[[Scratch], None]


class Crew:
    """One pass over the chunks of a shard.

    Args:
        shard: What is streamed.
        chunk_bytes: How it is cut.
        loader: Fills slots, one at a time and in order.
        slots: The ring; at least one.
        streams: Each consumes every chunk in order; none is finished before all have consumed everything.
    """

    def __init__(
        self, shard: ShardPlan, chunk_bytes: int, loader: SlotLoader, slots: list[Slot], streams: Sequence[Stream]
    ) -> None:
        self._chunks = iter_chunks(shard, chunk_bytes)
        self._chunk_count = count_chunks(shard, chunk_bytes)
        self._loader, self._free, self._streams = loader, slots, streams
        self._next = [0] * len(streams)
        self._is_busy = [False] * len(streams)
        self._ready: dict[int, Slot] = {}
        self._next_load = 0
        self._is_loading = False
        self._unfinished = list(streams)
        self._streams_left = len(streams)
        self._made_bytes = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def run(self, scratches: Sequence[Scratch], on_tick: OnTick, interrupt: Callable[[], None]) -> None:
        """Stream everything with one thread per scratch; the calling thread only ticks.

        Args:
            scratches: One a thread.
            on_tick: Told how far the pass is.
            interrupt: Called after an error, so that no thread waits long for bytes that nobody wants any more.

        Raises:
            BaseException: The first error of any thread or of `on_tick`; by then every thread has stopped.
        """
        threads = [threading.Thread(target=self._work, args=(scratch,), daemon=True) for scratch in scratches]
        try:
            for thread in threads:
                thread.start()
            while not self._wait_over(TICK_SECONDS):
                on_tick(self._made_bytes)
        except BaseException as error:  # also a signal's: no thread may outlive the pass
            self._fail(error)
        try:
            if self._error is not None:
                interrupt()
        finally:
            for thread in threads:
                if thread.ident is not None:  # the system may have refused to start it
                    thread.join()
        self._raise_error()
        on_tick(self._made_bytes)

    def _raise_error(self) -> None:
        try:
            if self._error is not None:
                raise self._error
        finally:
            self._error = None  # its traceback leads back here: a cycle that would keep the ring's memory

    def _wait_over(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(self._is_over, seconds)

    def _is_over(self) -> bool:
        return self._streams_left == 0 or self._error is not None

    def _work(self, scratch: Scratch) -> None:
        try:
            while (step := self._take()) is not None:
                step(scratch)
        except BaseException as error:  # the boundary of this thread: the caller's thread raises it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _take(self) -> _Step | None:
        """Wait for something to do; None when all is done or something failed."""
        with self._changed:
            while not self._is_over():
                if (step := self._choose()) is not None:
                    return step
                self._changed.wait()
        return None

    def _choose(self) -> _Step | None:
        if self._free and not self._is_loading and self._next_load < self._chunk_count:
            self._is_loading = True
            return self._load
        able = [k for k, index in enumerate(self._next) if not self._is_busy[k] and index in self._ready]
        if able:
            number = min(able, key=self._next.__getitem__)
            self._is_busy[number] = True
            return lambda scratch: self._consume(number, scratch)
        if self._unfinished and min(self._next) == self._chunk_count:
            stream = self._unfinished.pop()
            return lambda _: self._finish(stream)
        return None

    def _load(self, _: Scratch) -> None:
        slot, index = self._free.pop(), self._next_load
        self._loader.load(slot, next(self._chunks))
        slot.readers_left = len(self._streams)
        with self._changed:
            self._ready[index] = slot
            self._next_load += 1
            self._is_loading = False
            self._changed.notify_all()

    def _consume(self, number: int, scratch: Scratch) -> None:
        index = self._next[number]
        slot = self._ready[index]
        made_bytes = self._streams[number].consume(slot, scratch)
        with self._changed:
            self._made_bytes += made_bytes
            self._next[number] = index + 1
            slot.readers_left -= 1
            if slot.readers_left == 0:
                self._free.append(self._ready.pop(index))
            self._is_busy[number] = False
            self._changed.notify_all()

    def _finish(self, stream: Stream) -> None:
        stream.finish()
        with self._changed:
            self._streams_left -= 1
            self._changed.notify_all()
