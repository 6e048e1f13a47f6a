"""A process that a command starts for one piece of work: one JSON object in, one JSON object a line out."""

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from crossfade_core.errors import CrossfadeError


def run_program(work: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> int:
    """Do what standard input describes, and say at the end `done` with what came of it, or `error`; return the status.

    Args:
        work: Takes the description; returns the fields of `done`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    try:
        try:
            figures = work(json.load(sys.stdin))
        except CrossfadeError as error:
            emit("error", error=error.as_record())
            return 1
        emit("done", **figures, seconds=round(time.monotonic() - started, 3))
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


def emit(event: str, **fields: object) -> None:
    """Print an event, at once."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()
