"""Fetch what will be read before it is asked for, several blocks at once, within a fixed amount of memory.

What is expected is cut into blocks, fetched in its order and dropped when read; reading front to back, no byte comes
twice. Anything else that is read is fetched as it is asked for. Where bytes come from is the caller's to say.
"""

import contextvars
import mmap
import threading
from collections.abc import Callable, Sequence

from crossfade_core.errors import SourceError
from crossfade_core.ports import Span
from crossfade_registries.read_blocks import Block, cut, find, next_start, without

Fetch = Callable[[str, int, memoryview], None]
"""Fills the whole buffer from an offset of a file, or raises; it tries again by itself where that helps."""


class ReadAhead:
    """Reads files through `fetch`, ahead of the reader where it was told what comes. Safe to use from several threads.

    Holds at most `at_once + 1` blocks of `block_bytes`, in memory that is used again.

    Args:
        fetch: Called by up to `at_once` threads, and by those that read.
        block_bytes: What is fetched at a time.
        at_once: How many blocks are fetched ahead at a time.
    """

    def __init__(self, fetch: Fetch, *, block_bytes: int = 8 << 20, at_once: int = 4) -> None:
        self._fetch, self._block_bytes, self._at_once = fetch, block_bytes, at_once
        self._pending: list[Block] = []
        self._held: list[Block] = []
        self._spare: list[memoryview] = []
        self._allocated = 0
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._changed = threading.Condition()

    def expect(self, spans: Sequence[Span]) -> None:
        """Fetch `spans` ahead, in this order, instead of what was expected before."""
        with self._changed:
            self._forget()
            blocks = list(cut(spans, self._block_bytes))
            if blocks and not self._is_closed:
                self._start_threads()
                self._pending = blocks
                self._changed.notify_all()

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of `file`.

        Raises:
            SourceError: It was closed.
            BaseException: What `fetch` raised for these bytes; reading them again fetches them again.
        """
        done = 0
        while done < len(buffer):
            done += self._read_some(file, offset + done, buffer[done:])

    def close(self) -> None:
        """Fetch nothing more, without waiting for what is under way; reads that wait for it end with an error."""
        with self._changed:
            self._is_closed = True
            self._forget()
            self._spare.clear()

    def _read_some(self, file: str, start: int, buffer: memoryview) -> int:
        """Fill the beginning of `buffer`, as far as one block or one fetch goes; return how far."""
        block, end = self._claim(file, start, start + len(buffer))
        if block is None:
            self._fetch(file, start, buffer[: end - start])
            return end - start
        try:
            buffer[: end - start] = block.memory[start - block.start : end - block.start]
        finally:
            self._unclaim(block, start, end)
        return end - start

    def _claim(self, file: str, start: int, end: int) -> tuple[Block | None, int]:
        """Return a fetched block that holds `start`, kept until unclaimed, and how far it goes.

        No block where the bytes so far are the caller's to fetch.
        """
        with self._changed:
            while (block := find(self._held, file, start)) is None or not block.is_fetched:
                if self._is_closed:
                    raise SourceError(f"{file}: closed while it was read", file=file)
                if block is None:
                    coming = find(self._pending, file, start)
                    if coming is None:
                        return None, min(end, next_start((*self._held, *self._pending), file, start) or end)
                    # Waiting for any other could last for ever: the blocks before it may never be read.
                    if coming is not self._pending[0] or not self._has_room():
                        return None, self._take_out(coming, start, end)
                self._changed.wait()
            if block.error is not None:
                raise self._put_back(block)
            block.readers += 1
            return block, min(end, block.end)

    def _unclaim(self, block: Block, start: int, end: int) -> None:
        with self._changed:
            block.readers -= 1
            block.mark_read(start, end)
            if not block.unread and block in self._held:
                self._held.remove(block)
            self._recycle(block)

    def _take_out(self, block: Block, start: int, end: int) -> int:
        """Expect a block without the bytes from `start` on that are asked for now; return where those end."""
        end = min(end, block.end)
        at = self._pending.index(block)
        self._pending[at : at + 1] = without(block, start, end)
        return end

    def _put_back(self, block: Block) -> BaseException:
        """Expect what is unread of a block whose fetch failed once more, first; return why it failed."""
        self._drop(block)
        self._pending.insert(0, Block(block.file, block.start, block.end, block.unread))
        self._changed.notify_all()
        return block.error or AssertionError("only a block whose fetch failed is put back")

    def _start_threads(self) -> None:
        while len(self._threads) < self._at_once:
            in_context = contextvars.copy_context().run  # the log's: whose job these reads are
            thread = threading.Thread(target=in_context, args=(self._work,), name="read-ahead", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while (block := self._begin()) is not None:
            try:
                self._fetch(block.file, block.start, block.target)
            except BaseException as error:  # the boundary of this thread: the read that needs the block raises it
                block.error = error
            with self._changed:
                block.is_fetched = True
                self._recycle(block)
                self._changed.notify_all()

    def _begin(self) -> Block | None:
        """Wait for a block that may be fetched now; None when closed."""
        with self._changed:
            while not self._is_closed and not (self._pending and self._has_room()):
                self._changed.wait()
            if self._is_closed:
                return None
            block = self._pending.pop(0)
            block.memory = self._room()
            self._held.append(block)
            return block

    def _has_room(self) -> bool:
        return bool(self._spare) or self._allocated <= self._at_once

    def _room(self) -> memoryview:
        if self._spare:
            return self._spare.pop()
        self._allocated += 1
        return memoryview(mmap.mmap(-1, self._block_bytes))  # touched by nobody before the bytes come

    def _forget(self) -> None:
        self._pending = []
        for block in list(self._held):
            self._drop(block)
        self._changed.notify_all()

    def _drop(self, block: Block) -> None:
        self._held.remove(block)
        self._recycle(block)

    def _recycle(self, block: Block) -> None:
        """Take a block's memory back once nobody holds it, fills it or copies from it."""
        if block.memory and block.is_fetched and not block.readers and block not in self._held:
            self._spare.append(block.release())
            self._changed.notify_all()
