"""The store's side of retries: a failed job goes back to the queue, with the units whose staged shards are kept."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, cast

from sqlalchemy import CursorResult, select, update

from crossfade_core.audit import Act, Action
from crossfade_core.job import Approval, Job, JobId, JobState, OutputState, Phase, UnitState, check_retry
from crossfade_stores.audit_log import note_act
from crossfade_stores.job_rows import append_event, lock_job
from crossfade_stores.job_submissions import check_first, check_limit, deadline
from crossfade_stores.job_tables import JobRow, OutputRow, UnitRow
from crossfade_stores.transactions import StoreSide

_ANEW: Final[dict[str, Any]] = {
    "state": OutputState.PENDING,
    "approval": Approval.PENDING,
    "files": {},
    **dict.fromkeys(("error", "statistics", "staged_at", "ended_at", "approval_reason", "decided_by", "decided_at")),
}
"""An output that failed, as it was before: what it becomes is to be decided about anew."""


class JobRetries(StoreSide):
    """The retrying side of the job store; see `crossfade_core.job_store.JobStore` for what each method promises."""

    def retry_job(self, job_id: JobId, by: str | None = None) -> Job:
        """Queue a failed job again.

        Raises:
            IllegalTransition: It has not failed.
            AlreadyUnderWay: Another job makes the same by now.
            QueueLimitReached: Its submitter's key has as many unfinished jobs as it may have.
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job, now = lock_job(session, job_id), self._clock.now()
            check_retry(job.state)
            spec = job.as_job().spec
            if job.merge_digest is not None and spec.is_made_once:
                check_first(session, job.merge_digest)
            check_limit(session, job.submitted_by)
            is_kept = job.staged_until is not None and job.staged_until > now
            job.state, job.phase, job.error = JobState.QUEUED, Phase.WAITING, None
            job.started_at = job.finished_at = job.staged_until = job.cancel_requested_at = None
            job.deadline_at = deadline(spec, now)
            session.execute(
                update(OutputRow).where(OutputRow.job_id == job_id, OutputRow.state == OutputState.FAILED).values(_ANEW)
            )
            own = update(UnitRow).where(UnitRow.job_id == job_id).execution_options(synchronize_session=False)
            session.execute(own.values(failures=0, deaths=0, not_before=None))
            # Whoever still works on one does so for the attempt that failed, and what it has staged may be gone.
            taken = {
                "state": UnitState.PENDING,
                "fence": UnitRow.fence + 1,
                "lease_owner": None,
                "lease_expires_at": None,
            }
            session.execute(own.where(UnitRow.state == UnitState.RUNNING).values(taken))
            done = own.where(UnitRow.state == UnitState.DONE)
            anew = {} if is_kept else {"state": UnitState.PENDING, "bytes_done": 0, "result": None}
            count = cast("CursorResult[Any]", session.execute(done.values(updated_at=now, **anew))).rowcount
            job.units_left += 0 if is_kept else count
            data: dict[str, Any] = {"state": job.state, "phase": job.phase, "units_kept": count if is_kept else 0}
            if by is not None:
                data["by"] = by
                note_act(session, Act(by, Action.MERGE_RETRIED, job.id), now)
            append_event(session, job, "job.retried", data, now)
            return job.as_job()

    def staged_jobs(self, idle_seconds: float, limit: int = 100) -> Sequence[Job]:
        """Return jobs that have kept what they staged for long enough, and that nobody is about to clean."""
        now = self._clock.now()
        idle = JobRow.updated_at <= now - timedelta(seconds=idle_seconds)
        query = select(JobRow).where(JobRow.staged_until <= now, idle)
        with self._transactions.rows() as connection:
            rows = connection.execute(query.order_by(JobRow.staged_until).limit(limit))
            return [JobRow.as_job(row) for row in rows]

    def forget_staged(self, job_id: JobId) -> None:
        """Note that nothing staged is kept.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            job.staged_until, job.updated_at = None, self._clock.now()
