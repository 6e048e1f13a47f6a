"""The job store of a worker that tells OpenLineage: every way a job can begin or end leads through it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import Engine

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import TERMINAL, Job, JobId, JobState, Phase, Unit
from crossfade_core.job_store import NewUnit
from crossfade_core.ports import Clock
from crossfade_stores.job_store import SqlJobStore
from crossfade_worker.openlineage_teller import Moment, Teller

_MOMENTS: Final[Mapping[JobState, Moment]] = {
    JobState.RUNNING: "START",
    JobState.SUCCEEDED: "COMPLETE",
    JobState.PARTIALLY_SUCCEEDED: "COMPLETE",
    JobState.FAILED: "FAIL",
    JobState.CANCELLED: "ABORT",
}

log = structlog.get_logger()


class TellingStore(SqlJobStore):
    """The store, and what it stores told on.

    Args:
        engine: As for `SqlJobStore`.
        clock: As for `SqlJobStore`.
        teller: Whom to tell.
    """

    def __init__(self, engine: Engine, clock: Clock, teller: Teller) -> None:
        super().__init__(engine, clock)
        self._teller = teller

    def move_job(
        self,
        job_id: JobId,
        state: JobState,
        *,
        phase: Phase,
        error: Mapping[str, Any] | None = None,
        staged_until: datetime | None = None,
        by: str | None = None,
    ) -> Job:
        """Move a job, and tell of it where it has begun to run or, having run, has ended.

        Raises:
            IllegalTransition, JobNotFound, StoreUnavailable: As `SqlJobStore.move_job`.
        """
        job = super().move_job(job_id, state, phase=phase, error=error, staged_until=staged_until, by=by)
        if state in _MOMENTS:
            self._tell(_MOMENTS[state], job)
        return job

    def save_plan(
        self, job_id: JobId, summary: Mapping[str, Any], units: Sequence[NewUnit], *, merge_digest: str | None = None
    ) -> Sequence[Unit]:
        """Store a plan, and tell of the sources that it pins.

        Raises:
            IllegalTransition, JobNotFound, StoreUnavailable: As `SqlJobStore.save_plan`.
        """
        stored = super().save_plan(job_id, summary, units, merge_digest=merge_digest)
        try:
            self._tell("RUNNING", self.get_job(job_id))
        except StoreUnavailable as error:
            log.warning("openlineage.failed", job_id=job_id, reason=error.message)
        return stored

    def _tell(self, moment: Moment, job: Job) -> None:
        if job.started_at is None:
            return
        try:
            outputs = self.list_outputs(job.id) if job.state in TERMINAL else ()
        except StoreUnavailable as error:
            log.warning("openlineage.failed", job_id=job.id, reason=error.message)
            return
        self._teller.tell(moment, job, outputs, job.finished_at or job.updated_at)
