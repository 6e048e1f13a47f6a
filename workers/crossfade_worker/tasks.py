"""What Celery calls: bind the id to the log, hand over to the use case.

A task's failure is logged, never re-sent from here: the sweep sends again what the store says is unfinished.
"""

import contextlib
import os
import signal
from collections.abc import Callable

import structlog

from crossfade_core.errors import CrossfadeError, QueueUnavailable
from crossfade_core.job import JobId, UnitId
from crossfade_core.messages import PLAN, PUBLISH, UNIT
from crossfade_worker.celery_app import app
from crossfade_worker.runtime import runtime

log = structlog.get_logger()


@app.task(name=PLAN)  # type: ignore[untyped-decorator]  # celery has no types
def plan(job_id: str) -> None:
    """Plan one job."""
    _run(lambda: runtime().plan_merge(JobId(job_id)), job_id=job_id)


@app.task(name=UNIT)  # type: ignore[untyped-decorator]  # celery has no types
def unit(unit_id: str) -> None:
    """Stream one unit; a worker whose engine does not load hands the unit back and stops."""
    try:
        run_unit = runtime().run_unit
    except Exception:  # the boundary of the engine: without memory, or without its device, nothing can be done here
        log.exception("engine.failed", unit_id=unit_id)
        with contextlib.suppress(QueueUnavailable):  # then the sweep sends it
            runtime().queue.send(UNIT, unit_id)
        os.kill(os.getppid(), signal.SIGTERM)
        return
    _run(lambda: run_unit(UnitId(unit_id)), unit_id=unit_id)


@app.task(name=PUBLISH)  # type: ignore[untyped-decorator]  # celery has no types
def publish(job_id: str) -> None:
    """Publish or clean up one job."""
    _run(lambda: runtime().publish(JobId(job_id)), job_id=job_id)


def _run(use_case: Callable[[], None], **ids: str) -> None:
    with structlog.contextvars.bound_contextvars(**ids):
        try:
            use_case()
        except CrossfadeError as error:
            log.warning("task.failed", code=error.code, message=error.message)
