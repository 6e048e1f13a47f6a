"""Read files of one commit from a hub cache that this machine already has. Nothing is ever added to it.

A file in it is complete: the client downloads under another name
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache). What cannot be read there, or has another size, is as
good as absent.
"""

import contextlib
import os
import stat
import threading
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from crossfade_core.ports import FileInfo
from crossfade_core.source_ref import HubRef


class HubCache:
    """The files of a commit that are there. Safe to use from several threads.

    Args:
        folder: The cache; None for the client's own.
        pinned: Repository and commit.
    """

    def __init__(self, folder: Path | None, pinned: HubRef) -> None:
        self._folder, self._pinned = folder, pinned
        self._descriptors: dict[str, int | None] = {}
        self._lock = threading.Lock()

    def holds(self, info: FileInfo) -> bool:
        """Tell whether a file is there."""
        return self._descriptor(info) is not None

    def read_into(self, info: FileInfo, offset: int, buffer: memoryview) -> bool:
        """Fill `buffer` from byte `offset` of a file.

        Returns:
            False where the file is not there, or no longer whole; `buffer` may then hold anything.
        """
        descriptor = self._descriptor(info)
        done = 0
        while descriptor is not None and done < len(buffer):
            try:
                count = os.preadv(descriptor, [buffer[done:]], offset + done)
            except OSError:
                return False
            if count == 0:
                return False
            done += count
        return descriptor is not None

    def close(self) -> None:
        """Close every open descriptor."""
        with self._lock:
            while self._descriptors:
                if (descriptor := self._descriptors.popitem()[1]) is not None:
                    os.close(descriptor)

    def _descriptor(self, info: FileInfo) -> int | None:
        with self._lock:
            if info.name not in self._descriptors:
                self._descriptors[info.name] = self._open(info)
            return self._descriptors[info.name]

    def _open(self, info: FileInfo) -> int | None:
        with contextlib.suppress(OSError):
            ref = self._pinned
            path = try_to_load_from_cache(ref.repo, info.name, cache_dir=self._folder, revision=ref.revision)
            if isinstance(path, str):
                return _open_whole(path, info.size_bytes)
        return None


def _open_whole(path: str, size_bytes: int) -> int | None:
    """Return a descriptor of a regular file of just that size, or None."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size == size_bytes:
        # As for local sources: more read-ahead, a cold file comes two and a half times as fast.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return descriptor
    os.close(descriptor)
    return None
