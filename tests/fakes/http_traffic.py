"""What passed a proxy, counted."""

import json
import threading
from collections import Counter
from dataclasses import asdict, dataclass


@dataclass
class Passed:
    """What is remembered of one request; `status` stays None where nothing was answered."""

    method: str
    path: str
    query: str
    range: str | None
    status: int | None = None


class Traffic:
    """The counters. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Passed] = []
        self._bytes_read: Counter[tuple[str, str]] = Counter()
        self._bytes_written: Counter[tuple[str, str]] = Counter()

    @property
    def requests(self) -> list[Passed]:
        """What was asked, in the order it began."""
        with self._lock:
            return list(self._requests)

    @property
    def bytes_read(self) -> Counter[tuple[str, str]]:
        """Bytes of answers' bodies sent, by method and path."""
        with self._lock:
            return Counter(self._bytes_read)

    @property
    def bytes_written(self) -> Counter[tuple[str, str]]:
        """Bytes of requests' bodies passed on, by method and path."""
        with self._lock:
            return Counter(self._bytes_written)

    def begin(self, passed: Passed) -> None:
        """Count a request."""
        with self._lock:
            self._requests.append(passed)

    def count_read(self, passed: Passed, count_bytes: int) -> None:
        """Count bytes of the body of its answer."""
        with self._lock:
            self._bytes_read[passed.method, passed.path] += count_bytes

    def count_written(self, passed: Passed, count_bytes: int) -> None:
        """Count bytes of its own body."""
        with self._lock:
            self._bytes_written[passed.method, passed.path] += count_bytes

    def clear(self) -> None:
        """Count from 0 again."""
        with self._lock:
            self._requests.clear()
            self._bytes_read.clear()
            self._bytes_written.clear()

    def to_json(self) -> bytes:
        """Return all of it; a body's key is method and path with a space between."""
        document = {
            "requests": [asdict(passed) for passed in self.requests],
            "bytes_read": {" ".join(key): count for key, count in self.bytes_read.items()},
            "bytes_written": {" ".join(key): count for key, count in self.bytes_written.items()},
        }
        return json.dumps(document).encode()
