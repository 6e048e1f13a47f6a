"""A clock that stands still until it is told to move."""

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """The `Clock` port for tests. Safe to use from several threads."""

    def __init__(self, start: datetime = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the time as last set."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> datetime:
        """Move on (or back, for negative seconds) and return the new time."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now
