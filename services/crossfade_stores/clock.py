"""The time of this machine. Leases compare it between machines: keep them within a second by NTP."""

from datetime import UTC, datetime


class SystemClock:
    """The `Clock` of production."""

    def now(self) -> datetime:
        """Return the time in UTC, with its zone."""
        return datetime.now(UTC)
