"""How the HTTP servers of the tests misbehave on request: what goes wrong, with which request, and how fast bytes go.

Nothing here speaks HTTP. A server asks `Faults.take` once for each request and plays out what it is given, and pays
each block of a body to a `Throttle`.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Status:
    """Answer with this status instead of doing what was asked."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Disconnect:
    """Cut the connection once so many bytes of the body were sent, or, of a request with a body, were received.

    After none, nothing is answered at all.

    Args:
        after_bytes: So many.
        is_reset: Whether by a reset rather than an orderly end; the proxy always resets requests with a body.
    """

    after_bytes: int = 0
    is_reset: bool = False


@dataclass(frozen=True)
class LoseAnswer:
    """Do what was asked, then cut the connection in place of answering."""


@dataclass(frozen=True)
class WrongBytes:
    """Invert the byte of the body at this offset: of the answer's, or, of a request with a body, before it is kept."""

    at: int = 0


@dataclass(frozen=True)
class Slow:
    """Let the body pass at this rate."""

    bytes_per_second: float


@dataclass(frozen=True)
class Stall:
    """Answer, but only after so long, or once `until` is set."""

    seconds: float
    until: threading.Event | None = None


@dataclass(frozen=True)
class ReplaceAnswer:
    """Do what was asked, then answer with this: the client sees a failure where there was none."""

    status: Status


@dataclass(frozen=True)
class ShortAnswer:
    """Answer with only so many bytes of the body; the Content-Length agrees, the Content-Range does not. Of the Hub."""

    size_bytes: int


Action = Status | Disconnect | LoseAnswer | ReplaceAnswer | ShortAnswer | WrongBytes | Slow | Stall


@dataclass
class _Rule:
    action: Action
    method: str | None
    path_contains: str
    origin: str | None
    skip: int
    times: int | None

    def matches(self, method: str, path: str, origin: str) -> bool:
        is_used_up = self.times == 0
        is_method = self.method in (None, method)
        is_origin = self.origin in (None, origin)
        return not is_used_up and is_method and is_origin and self.path_contains in path


class Faults:
    """The faults still to happen. Safe to use from several threads."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    def add(
        self,
        action: Action,
        *,
        method: str | None = None,
        path_contains: str = "",
        origin: str | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Let something go wrong.

        Args:
            action: What.
            method: With requests of this method; None for any.
            path_contains: With requests whose path and query hold this.
            origin: With requests to this origin, as its server calls it; None for any.
            skip: Let so many matching requests pass first.
            times: With so many requests; None for all until `clear`.
        """
        with self._lock:
            self._rules.append(_Rule(action, method, path_contains, origin, skip, times))

    def take(self, method: str, path: str, origin: str) -> Action | None:
        """Return what goes wrong with a request, and count it as having happened; the fault added first comes first."""
        with self._lock:
            for rule in self._rules:
                if not rule.matches(method, path, origin):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule.action
        return None

    @property
    def left(self) -> int:
        """How many faults have still to happen, those without end left out."""
        with self._lock:
            return sum(rule.times for rule in self._rules if rule.times is not None)

    def clear(self) -> None:
        """Let nothing go wrong from here on."""
        with self._lock:
            self._rules.clear()


class Throttle:
    """A rate that any number of threads share.

    Args:
        bytes_per_second: The rate; None for no limit.
        burst_seconds: How much of an idle time may be caught up with.
    """

    def __init__(self, bytes_per_second: float | None = None, *, burst_seconds: float = 0.02) -> None:
        self.bytes_per_second = bytes_per_second
        self._burst_seconds = burst_seconds
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, count_bytes: int) -> None:
        """Wait until so many bytes may pass."""
        if self.bytes_per_second is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - self._burst_seconds) + count_bytes / self.bytes_per_second
            wait_seconds = self._free_at - now
        if wait_seconds > 0:
            time.sleep(wait_seconds)
