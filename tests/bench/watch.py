"""What processes take while they work: CPU, memory at its highest, and room on disk, nameless files included.

Source: proc(5) and proc_pid_clear_refs(5).
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import psutil

_SAMPLE_SECONDS: Final = 0.05
_BLOCK_BYTES: Final = 512
"""The unit of st_blocks (stat(2)), whatever the file system's own."""
_RESTART_PEAK: Final = "5"


def resident_bytes(pid: int) -> int:
    """Return what a process holds of memory now."""
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the most that a process has held, as the kernel kept count."""
    return _status_bytes(pid, "VmHWM")


def restart_peak(pid: int) -> None:
    """Let `peak_bytes` begin again at what the process holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESTART_PEAK)


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the user and system time that these processes have used, those of their children that ended included."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


class ScratchWatch:
    """A context manager that looks every 50 ms at the room of all files in a folder, and of those no longer in it.

    A file without a name is found by the process that has it open. Room that is reserved counts as taken.

    Args:
        pids: Who may have files open there.
        folder: Where.
    """

    def __init__(self, pids: Sequence[int], folder: Path) -> None:
        self._pids, self._folder = pids, folder
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="scratch watch")
        self.most_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_SAMPLE_SECONDS):
            held = dict(file for pid in self._pids for file in self._open_files(pid))
            held |= dict(self._named_files())
            self.most_bytes = max(self.most_bytes, sum(held.values()))

    def _open_files(self, pid: int) -> Iterator[tuple[int, int]]:
        """Yield inode and room of every file of the folder that a process has open."""
        folder = f"/proc/{pid}/fd"
        with contextlib.suppress(FileNotFoundError):  # it has ended
            for descriptor in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(f"{folder}/{descriptor}").startswith(f"{self._folder}/"):
                        yield _room(os.stat(f"{folder}/{descriptor}"))

    def _named_files(self) -> Iterator[tuple[int, int]]:
        for parent, _, files in os.walk(self._folder):
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    yield _room(os.lstat(os.path.join(parent, file)))


def _room(about: os.stat_result) -> tuple[int, int]:
    return about.st_ino, about.st_blocks * _BLOCK_BYTES


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB")) * 1024
    raise ProcessLookupError(f"process {pid} says nothing of {field}; it has ended")
