"""What it means that a local disk refused a write."""

import errno
from typing import Final

from crossfade_core.errors import DiskFull, SinkUnavailable

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


def disk_refusal(error: OSError, message: str, **details: str) -> SinkUnavailable:
    """Return the error of a write that `error` refused: DiskFull where room is what lacks.

    Args:
        error: What the system said.
        message: What was written where, and the system's words.
        details: The facts of the message.
    """
    if error.errno in _NO_ROOM:
        return DiskFull(f"{message}; make room there, then retry the job", **details)
    return SinkUnavailable(message, **details)
