"""Let the units of one machine begin one after the other, so that one reads while another sends.

Units that begin together would read together and then send together, each way of the network idle half of the time.
Whoever waits does so for no longer than sending takes: out of step by that much, units stay out of each other's way.
So a turn is a courtesy and no lock, and nothing depends on it.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LONGEST_WAIT_SECONDS: Final = 15.0
"""Also how long the first unit of a process may wait, which has sent nothing yet."""
_ASK_SECONDS: Final = 0.05
_LEAST_BYTES: Final = 32 << 20
"""Smaller files are read and sent so soon that nobody waits for a turn to begin one."""


class Turn:
    """The turn of this process's unit, among the processes that share a folder. Safe to use from several threads.

    Args:
        folder: Whom this process shares the network with has this scratch folder too; it is locked (flock(2)), which
            ends with the process. Where it cannot be, nobody waits. None where there is nobody else.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._patience_seconds = LONGEST_WAIT_SECONDS
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> None:
        """Wait for the turn to make a file, unless this process has it, and not for long."""
        if self._folder is None or size_bytes < _LEAST_BYTES:
            return
        with self._lock, contextlib.suppress(OSError):
            if self._descriptor is None:
                self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                deadline = time.monotonic() + self._patience_seconds
                while not _is_locked(self._descriptor) and time.monotonic() < deadline:
                    time.sleep(_ASK_SECONDS)

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Let the next begin, and learn how long sending takes."""
        self.give_back()
        started = time.monotonic()
        yield
        self._patience_seconds = min(LONGEST_WAIT_SECONDS, time.monotonic() - started)

    def give_back(self) -> None:
        """Let the next begin."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
