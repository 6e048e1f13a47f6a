"""Keep how the files of a source begin, so that a header or a small file is one request however it is read."""

import threading
from typing import Final

from crossfade_registries.read_ahead import Fetch

FIRST_BYTES: Final = 64 << 10
"""Holds most headers and configs, and costs hardly more than the request itself."""


class FirstBytes:
    """The first 64 KiB of files whose content cannot change. Safe to use from several threads.

    Args:
        fetch: Reads from the registry.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._kept: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def read_into(self, file: str, size_bytes: int, offset: int, buffer: memoryview) -> int:
        """Fill the front of `buffer` from byte `offset` on with what is kept, and return how many bytes that were.

        A range that ends among the first bytes is filled whole; of a longer one, only what an earlier read has left.

        Args:
            file: The file.
            size_bytes: Its size.
            offset: Where to begin; the range must lie in the file.
            buffer: To be filled.

        Raises:
            SourceError: As `fetch` raised it.
        """
        ends_among_them = offset + len(buffer) <= min(FIRST_BYTES, size_bytes)
        if not buffer or (file not in self._kept and not ends_among_them):
            return 0
        part = self._first(file, size_bytes)[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def _first(self, file: str, size_bytes: int) -> bytes:
        with self._lock:
            kept = self._kept.get(file)
        if kept is None:
            # Not under the lock: headers of several files are read at once.
            content = bytearray(min(FIRST_BYTES, size_bytes))
            self._fetch(file, 0, memoryview(content))
            with self._lock:
                kept = self._kept.setdefault(file, bytes(content))
        return kept
