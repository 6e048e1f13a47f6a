"""The parts of multipart uploads: how large, how many in memory, and which threads send them."""

import functools
import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from mmap import mmap
from typing import Final, TypeVar

MAX_PARTS: Final = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
PARTS_AT_ONCE: Final = 8
"""Sent by one process, whatever it writes: enough to fill a link of some GB/s at 8 MiB a part."""

T = TypeVar("T")

_MIB: Final = 1 << 20


def part_bytes_for(size_bytes: int, part_bytes: int) -> int:
    """Return the size of every part but the last of a file: as configured, or larger where the parts were too many."""
    least = math.ceil(size_bytes / MAX_PARTS)
    return max(part_bytes, math.ceil(least / _MIB) * _MIB)


@functools.cache
def upload_threads() -> ThreadPoolExecutor:
    """Return the threads of this process that talk to stores."""
    return ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="s3-upload")


os.register_at_fork(after_in_child=upload_threads.cache_clear)  # a child has the object, but none of its threads


def at_once(call: Callable[[T], object], items: Iterable[T]) -> None:
    """Call for each item, several at once, and raise the first error when nothing is under way any more."""
    futures = [upload_threads().submit(call, item) for item in items]
    wait(futures)
    for future in futures:
        future.result()


class PartBuffers:
    """The memory of one sink's parts: one for each open writer, and one for each part being sent.

    Buffers are reused, because fresh memory costs more than what is done with it; none is kept while no writer is open.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._free: list[mmap] = []
        self._taken = 0
        self._writers = 0

    def open_writer(self) -> None:
        """Count one more writer, which takes one buffer at a time."""
        with self._changed:
            self._writers += 1
            self._changed.notify_all()

    def close_writer(self) -> None:
        """Count one less, which has given its buffers back."""
        with self._changed:
            self._writers -= 1
            self._trim()

    def take(self, part_bytes: int) -> mmap:
        """Return a buffer of that size, positioned at its start; wait until there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self._most())
            self._taken += 1
            fitting = [buffer for buffer in self._free if len(buffer) == part_bytes]
            if fitting:
                self._free.remove(fitting[0])
            else:
                del self._free[:1]
        return fitting[0] if fitting else mmap(-1, part_bytes)

    def give(self, buffer: mmap) -> None:
        """Take a buffer back."""
        with self._changed:
            buffer.seek(0)
            self._taken -= 1
            self._free.append(buffer)
            self._trim()
            self._changed.notify()

    def _most(self) -> int:
        return self._writers + PARTS_AT_ONCE

    def _trim(self) -> None:
        excess = self._taken + len(self._free) - self._most() if self._writers else len(self._free)
        del self._free[: max(0, excess)]
