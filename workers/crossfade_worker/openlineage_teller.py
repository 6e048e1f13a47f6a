"""Tell OpenLineage of jobs, beside the work: in a thread of its own, so that no receiver ever holds or fails a job.

Configured by OpenLineage's own environment variables and nothing else; without them nothing is imported.
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import Final, Literal

import structlog

from crossfade_core.job import Job, Output

MAX_WAITING: Final = 1000
"""Events that wait for a receiver that is away or slow; what comes on top is lost."""
Moment = Literal["START", "RUNNING", "COMPLETE", "FAIL", "ABORT"]
"""What becomes of a run, as OpenLineage calls it."""
_VARIABLES: Final = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG")
_TRANSPORT: Final = "OPENLINEAGE__TRANSPORT"

log = structlog.get_logger()


@dataclass(frozen=True)
class _Told:
    moment: Moment
    job: Job
    outputs: Sequence[Output]
    at: datetime


def open_teller(environment: Mapping[str, str]) -> "Teller | None":
    """Return who tells OpenLineage; None where nobody asks for it, or the package is not there.

    Source: https://openlineage.io/docs/client/python#environment-variables
    """
    is_disabled = environment.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true"
    is_asked = any(environment.get(name) for name in _VARIABLES) or any(
        name.startswith(_TRANSPORT) for name in environment
    )
    if is_disabled or not is_asked:
        return None
    if find_spec("openlineage") is None:
        log.warning("openlineage.off", reason="its package is not installed: pip install 'crossfade[openlineage]'")
        return None
    return Teller()


class Teller:
    """Sends what it is told, in order, when it can."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[_Told] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._has_failed = False

    def tell(self, moment: Moment, job: Job, outputs: Sequence[Output], at: datetime) -> None:
        """Note what a job has become; returns at once."""
        try:
            self._waiting.put_nowait(_Told(moment, job, outputs, at))
        except queue.Full:
            self._warn("its receiver has been away or slow for long; events are lost")
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_forever, name="openlineage", daemon=True)
            self._thread.start()

    def flush(self, seconds: float) -> None:
        """Wait until all is sent, so long at most."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, seconds)

    def _send_forever(self) -> None:
        try:
            from crossfade_worker.openlineage_events import open_client, run_event

            client = open_client()
        except Exception as error:  # the boundary of this thread: jobs go on without
            self._warn(f"it cannot be configured ({type(error).__name__}); see its own documentation")
            client = None
        while True:
            told = self._waiting.get()
            try:
                if client is not None:
                    client.emit(run_event(told.moment, told.job, told.outputs, at=told.at))
                    self._has_failed = False
            except Exception as error:  # the boundary of this thread: a receiver may do anything
                # Its message may hold the receiver's URL, and that a password.
                self._warn(f"an event was not taken ({type(error).__name__})")
            finally:
                self._waiting.task_done()

    def _warn(self, reason: str) -> None:
        """Say it once, until an event is taken again."""
        if not self._has_failed:
            self._has_failed = True
            log.warning("openlineage.failed", reason=reason)
