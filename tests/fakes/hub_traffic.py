"""What passes through the Hub of the tests: what is remembered of it, how fast it goes, and where it goes wrong."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.fakes.http_faults import Action, Disconnect, Faults, Slow, Throttle, WrongBytes

_BLOCK_BYTES = 1024 * 1024


class CutError(Exception):
    """The connection is to be cut here, because a fault says so or because the other side is gone."""


@dataclass(frozen=True)
class Asked:
    """What is remembered of one request."""

    method: str
    path: str
    range: str | None
    has_token: bool
    origin: str


@dataclass
class Traffic:
    """What passed through the server, and how it passes. Shared by its origins.

    Args:
        download: The rate of all bodies sent.
        upload: The rate of all bodies received.
    """

    download: Throttle
    upload: Throttle
    faults: Faults = field(default_factory=Faults)
    requests: list[Asked] = field(default_factory=list)
    bytes_read: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes_written: Counter[tuple[str, str]] = field(default_factory=Counter)
    crashes: list[Exception] = field(default_factory=list)
    is_stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, counter: Counter[tuple[str, str]], key: tuple[str, str] | None, count_bytes: int) -> None:
        """Add to a counter."""
        if key is not None and count_bytes != 0:
            with self.lock:
                counter[key] += count_bytes


class Pace:
    """How one body passes: the shared rate, and the fault that this request is to suffer."""

    def __init__(self, throttle: Throttle, fault: Action | None) -> None:
        self._throttles = [throttle]
        if isinstance(fault, Slow):
            self._throttles.append(Throttle(fault.bytes_per_second))
        self._cut_at = fault.after_bytes if isinstance(fault, Disconnect) else None
        self._wrong_at = fault.at if isinstance(fault, WrongBytes) else None
        rates = [each.bytes_per_second for each in self._throttles if each.bytes_per_second is not None]
        self.block_bytes = min([_BLOCK_BYTES, *(max(1024, int(rate / 50)) for rate in rates)])

    def take(self, count_bytes: int) -> None:
        """Wait until so many bytes may pass."""
        for throttle in self._throttles:
            throttle.take(count_bytes)

    def until_cut(self, position: int, wanted: int) -> int:
        """Return how many of the bytes wanted pass before the connection is cut, or cut it."""
        if self._cut_at is None:
            return wanted
        if position >= self._cut_at:
            raise CutError
        return min(wanted, self._cut_at - position)

    def spoils(self, position: int, size: int) -> bool:
        """Tell whether a byte of a block is to be wrong."""
        return self._wrong_at is not None and position <= self._wrong_at < position + size

    def spoil(self, block: memoryview, position: int) -> None:
        """Make that byte wrong."""
        if self.spoils(position, len(block)):
            block[self._wrong_at - position] ^= 0xFF
