"""The job store on SQL: the writing side of jobs, and the whole of `crossfade_core.job_store.JobStore` in one class.

Every change of a job happens under its row's lock (see `job_rows`), so that the state it was decided on is the state
it is applied to.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from crossfade_core.audit import Act, Action
from crossfade_core.errors import IllegalTransition
from crossfade_core.job import (
    TERMINAL,
    Job,
    JobId,
    JobState,
    OutputState,
    Phase,
    Unit,
    UnitId,
    UnitState,
    check_transition,
)
from crossfade_core.job_store import NewUnit
from crossfade_core.ports import Clock
from crossfade_stores.audit_log import note_act
from crossfade_stores.ids import new_id
from crossfade_stores.job_approvals import JobApprovals, fail, forget_contents
from crossfade_stores.job_leases import JobLeases
from crossfade_stores.job_queries import JobQueries
from crossfade_stores.job_requests import JobRequests
from crossfade_stores.job_retries import JobRetries
from crossfade_stores.job_rows import append_event, enter_phase, lock_job
from crossfade_stores.job_submissions import JobSubmissions
from crossfade_stores.job_tables import EventRow, JobRow, OutputRow, UnitRow
from crossfade_stores.lineage_rows import note_output
from crossfade_stores.transactions import Transactions
from crossfade_stores.unit_leases import UnitLeases

_UNPUBLISHED: Final = {
    JobState.FAILED: OutputState.FAILED,
    JobState.PARTIALLY_SUCCEEDED: OutputState.FAILED,
    JobState.CANCELLED: OutputState.CANCELLED,
}
"""What an output that is still PENDING or STAGED becomes when its job ends."""
_UNENDED: Final = (OutputState.PENDING, OutputState.STAGED)


class SqlJobStore(JobSubmissions, JobRequests, JobQueries, JobLeases, JobRetries, JobApprovals, UnitLeases):
    """The job store on SQLite or PostgreSQL. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(Transactions(engine), clock)

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
        """Move a job along the table of transitions.

        Raises:
            IllegalTransition: The table does not join the job's present state to `state`.
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job, now = lock_job(session, job_id), self._clock.now()
            check_transition(job.state, state)
            job.state, job.phase = state, phase
            job.error = dict(error) if error is not None else job.error
            if state is JobState.RUNNING:
                job.started_at = now
            if state in TERMINAL:
                job.finished_at, job.staged_until = now, staged_until
                _close_outputs(session, job, now)
                forget_contents(session, job.id)
            data: dict[str, Any] = {"state": state, "phase": phase, "error": job.error}
            if by is not None:
                job.cancel_requested_at, data["by"] = now, by
                note_act(session, Act(by, Action.MERGE_CANCELLED, job.id), now)
            append_event(session, job, f"job.{state.lower()}", data, now)
            return job.as_job()

    def set_phase(self, job_id: JobId, phase: Phase) -> None:
        """Note a phase; changes nothing in states that have but one.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            if job.state in (JobState.RUNNING, JobState.CANCELLING):
                enter_phase(session, job, phase, self._clock.now())

    def save_plan(
        self, job_id: JobId, summary: Mapping[str, Any], units: Sequence[NewUnit], *, merge_digest: str | None = None
    ) -> Sequence[Unit]:
        """Store a plan once; a second one is dropped in favour of the first.

        Raises:
            IllegalTransition: The job is not RUNNING.
            JobNotFound: There is no such job.
        """
        now = self._clock.now()
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            if job.state is not JobState.RUNNING:
                raise IllegalTransition(f"job {job_id} is {job.state}; only a RUNNING job takes a plan", job=job_id)
            if job.plan_summary is None:
                job.plan_summary, job.merging_at = dict(summary), now
                job.merge_digest = merge_digest or job.merge_digest
                job.units_left = len(units)
                session.add_all(_new_unit(job.id, position, unit, now) for position, unit in enumerate(units))
                enter_phase(session, job, Phase.MERGING, now)
            rows = session.scalars(select(UnitRow).where(UnitRow.job_id == job_id).order_by(UnitRow.position))
            return [row.as_unit() for row in rows]

    def publish_output(
        self,
        job_id: JobId,
        position: int,
        uri: str,
        files: Mapping[str, Mapping[str, Any]],
        *,
        statistics: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Mark a PENDING or STAGED output PUBLISHED and note its lineage; any other output stays as it is.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            output = session.get_one(OutputRow, (job_id, position))
            if output.state not in _UNENDED:
                return
            now = self._clock.now()
            output.state, output.uri, output.error, output.ended_at = OutputState.PUBLISHED, uri, None, now
            output.files = {name: dict(facts) for name, facts in files.items()}
            output.statistics = dict(statistics) if statistics is not None else None
            note_output(session, output, uri, inputs or output.inputs or {})
            output.inputs = None
            data = {"position": position, "lambda": output.lam, "name": output.name, "uri": uri}
            told = {name: (statistics or {})[name] for name in ("realised", "warnings") if name in (statistics or {})}
            append_event(session, job, "output.published", {**data, **told}, now)
            if job.submitted_by is not None:
                note_act(session, Act(job.submitted_by, Action.OUTPUT_PUBLISHED, job.id, data), now)

    def keep_signature(self, job_id: JobId, position: int, digest: str, signature: str) -> str:
        """Keep the first signature that was made of a payload (known by `digest`) for an output, and return it.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            lock_job(session, job_id)
            output = session.get_one(OutputRow, (job_id, position))
            kept: dict[str, str] = {digest: signature, **(output.signatures or {})}
            output.signatures = kept
            return kept[digest]

    def delay_output(self, job_id: JobId, position: int, error: Mapping[str, Any]) -> int:
        """Note why an output is not published yet.

        Returns:
            How often that was noted since the job was queued, or the output staged.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            output = session.get_one(OutputRow, (job_id, position))
            output.error = dict(error)
            told = session.scalars(
                select(EventRow)
                .where(EventRow.job_id == job_id, EventRow.type.in_(("output.delayed", "output.staged", "job.retried")))
                .order_by(EventRow.sequence)
            )
            count = 1
            for event in told:
                is_mine = event.data.get("position") == position
                is_new = event.type == "job.retried" or (is_mine and event.type == "output.staged")
                count = 1 if is_new else count + (is_mine and event.type == "output.delayed")
            data = {"position": position, "lambda": output.lam, "name": output.name, "error": output.error}
            append_event(session, job, "output.delayed", {**data, "delays": count}, self._clock.now())
            return count

    def fail_output(self, job_id: JobId, position: int, error: Mapping[str, Any]) -> None:
        """Mark a PENDING or STAGED output FAILED; an output that is anything else stays as it is.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            output = session.get_one(OutputRow, (job_id, position))
            if output.state in _UNENDED:
                fail(session, job, output, error, self._clock.now())

    def touch_job(self, job_id: JobId) -> None:
        """Set the job's time of change to now.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            lock_job(session, job_id).updated_at = self._clock.now()


def _close_outputs(session: Session, job: JobRow, now: datetime) -> None:
    ended = _UNPUBLISHED.get(job.state)
    if ended is not None:
        unended = (OutputRow.job_id == job.id, OutputRow.state.in_(_UNENDED))
        session.execute(update(OutputRow).where(*unended).values(state=ended, ended_at=now))


def _new_unit(job_id: JobId, position: int, unit: NewUnit, now: datetime) -> UnitRow:
    return UnitRow(
        id=UnitId(new_id("unit", now)),
        job_id=job_id,
        position=position,
        state=UnitState.PENDING,
        shard=unit.shard,
        bytes_total=unit.bytes_total,
        bytes_done=0,
        fence=0,
        updated_at=now,
    )
