"""Two files read by ranges, from a registry that remembers what was fetched and can be held up or made to fail."""

import random
import threading
from collections import Counter

from crossfade_core.errors import SourceUnavailable

CONTENT = {"a": random.Random(1).randbytes(5_000), "b": random.Random(2).randbytes(3_000)}


class Registry:
    """Files by ranges. Remembers what was fetched and into whose memory, and can be held up or made to fail."""

    def __init__(self):
        self.fetched = []
        self.buffers = set()
        self.under_way = self.most_under_way = 0
        self.failures = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def fetch(self, file, offset, buffer):
        with self._lock:
            self.fetched.append((file, offset, offset + len(buffer)))
            if threading.current_thread().name == "read-ahead":
                self.buffers.add(id(buffer.obj))
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.gate.wait(30)
            if self.failures[file, offset]:
                self.failures[file, offset] -= 1
                raise SourceUnavailable(f"{file} at {offset}")
            buffer[:] = CONTENT[file][offset : offset + len(buffer)]
        finally:
            with self._lock:
                self.under_way -= 1

    def times(self, file):
        """How often each byte of a file was fetched."""
        return Counter(at for name, start, end in self.fetched if name == file for at in range(start, end))
