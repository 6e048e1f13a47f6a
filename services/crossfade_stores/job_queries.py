"""The reading side of the job store: jobs, outputs, units, events, progress. Never writes, and waits for no writer."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    ScalarSelect,
    and_,
    bindparam,
    case,
    exists,
    func,
    null,
    or_,
    select,
)
from sqlalchemy.orm import aliased

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import (
    Approval,
    Event,
    Job,
    JobId,
    JobState,
    Output,
    OutputState,
    OutputSummary,
    Progress,
    Unit,
    UnitId,
    UnitState,
)
from crossfade_core.job_store import JobFilter, Throughput
from crossfade_stores.job_rows import check_job, read_job
from crossfade_stores.job_submissions import UNFINISHED, waits_only
from crossfade_stores.job_tables import EventRow, JobRow, OutputRow, UnitRow
from crossfade_stores.schema import expected_revision, stored_revision
from crossfade_stores.table_base import UtcDateTime
from crossfade_stores.transactions import StoreSide

_LOOKED_AT_JOBS: Final = 200
_MEASURED_JOBS: Final = 20
_JOB_IDS: Final[BindParameter[Any]] = bindparam("job_ids", expanding=True)
_OUTPUTS: Final = select(OutputRow).where(OutputRow.job_id == bindparam("job_id")).order_by(OutputRow.position)
_OUTPUT_SUMMARIES: Final = (
    select(
        OutputRow.job_id,
        OutputRow.position,
        OutputRow.lam,
        OutputRow.name,
        OutputRow.state,
        OutputRow.approval,
        OutputRow.uri,
        OutputRow.ended_at,
    )
    .where(OutputRow.job_id.in_(_JOB_IDS))
    .order_by(OutputRow.position)
)
_WITHOUT_PLAN: Final = [
    null().label(column.name) if column.name == "plan_summary" else column for column in JobRow.__table__.columns
]
"""A plan's private part holds the index of a model: megabytes, for nobody who reads a list."""
_PROGRESS: Final = (
    select(
        UnitRow.job_id,
        func.sum(UnitRow.bytes_done),
        func.sum(UnitRow.bytes_total),
        func.sum(case((UnitRow.state == UnitState.DONE, 1), else_=0)),
        func.count(),
    )
    .where(UnitRow.job_id.in_(_JOB_IDS))
    .group_by(UnitRow.job_id)
)


class JobQueries(StoreSide):
    """Questions about jobs; see `crossfade_core.job_store.JobStore` for what each method promises."""

    def get_job(self, job_id: JobId) -> Job:
        """Return the job.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.rows() as connection:
            return JobRow.as_job(read_job(connection, job_id))

    def list_jobs(
        self, wanted: JobFilter | None = None, *, limit: int = 50, before: JobId | None = None
    ) -> Sequence[Job]:
        """Return jobs, newest first."""
        query = select(*_WITHOUT_PLAN).where(*_wanted(wanted or JobFilter())).order_by(JobRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(JobRow.id < before)
        with self._transactions.rows() as connection:
            return [JobRow.as_job(row) for row in connection.execute(query)]

    def list_outputs(self, job_id: JobId) -> Sequence[Output]:
        """Return the outputs in the order of the λ list.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.rows() as connection:
            rows = connection.execute(_OUTPUTS, {"job_id": job_id}).all()
            return [OutputRow.as_output(row) for row in rows] or _none_of(connection, job_id)

    def output_summaries(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Sequence[OutputSummary]]:
        """Return what lists tell of the outputs of several jobs, in one query."""
        found: dict[JobId, list[OutputSummary]] = {job_id: [] for job_id in job_ids}
        with self._transactions.rows() as connection:
            for row in connection.execute(_OUTPUT_SUMMARIES, {"job_ids": job_ids}):
                found[row[0]].append(OutputSummary(*row[1:]))
        return found

    def list_units(self, job_id: JobId) -> Sequence[Unit]:
        """Return the units by position."""
        with self._transactions.rows() as connection:
            check_job(connection, job_id)
            rows = connection.execute(select(UnitRow).where(UnitRow.job_id == job_id).order_by(UnitRow.position))
            return [UnitRow.as_unit(row) for row in rows]

    def list_events(self, job_id: JobId, *, after: int = 0, limit: int = 200) -> Sequence[Event]:
        """Return the events after a sequence number, oldest first."""
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.sequence > after)
        with self._transactions.rows() as connection:
            rows = connection.execute(query.order_by(EventRow.sequence).limit(limit)).all()
            if not rows:
                check_job(connection, job_id)
            return [EventRow.as_event(row) for row in rows]

    def progress(self, job_id: JobId) -> Progress:
        """Add up the job's units, without reading their plans.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.rows() as connection:
            found = _progress(connection, [job_id])[job_id]
            if not found.units_total:
                _none_of(connection, job_id)
            return found

    def progress_of(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Progress]:
        """Add up the units of several jobs in one query."""
        with self._transactions.rows() as connection:
            return _progress(connection, job_ids)

    def throughput(self, destination: str) -> Throughput | None:
        """Add up what the newest jobs that succeeded wrote, and how long that took, without waiting for approval."""
        staged_at = select(func.max(OutputRow.staged_at)).where(OutputRow.job_id == JobRow.id).scalar_subquery()
        ended_at = func.coalesce(staged_at, JobRow.finished_at, type_=UtcDateTime())
        seen = (JobRow.id, JobRow.merging_at, ended_at, JobRow.spec["destination"].as_string())
        # A retry sets `started_at` anew, and `merging_at` stays.
        measured = (JobRow.state == JobState.SUCCEEDED, JobRow.merging_at >= JobRow.started_at)
        newest = select(*seen).where(*measured).order_by(JobRow.id.desc()).limit(_LOOKED_AT_JOBS)
        with self._transactions.read() as session:
            found = session.execute(newest).all()
            alike = [row for row in found if row[3] == destination] or found
            chosen = {job_id: (ended - began).total_seconds() for job_id, began, ended, _ in alike[:_MEASURED_JOBS]}
            total = select(func.sum(UnitRow.bytes_total)).where(UnitRow.job_id.in_(chosen))
            written_bytes, seconds = int(session.scalar(total) or 0), sum(chosen.values())
        return Throughput(len(chosen), written_bytes, seconds) if written_bytes > 0 and seconds > 0 else None

    def more_urgent_unit(self, unit_id: UnitId) -> UnitId | None:
        """Return a unit of another job to begin before this one, or None."""
        own, waiting = aliased(JobRow), aliased(UnitRow)
        is_due = or_(waiting.not_before.is_(None), waiting.not_before <= self._clock.now())
        can_begin = exists().where(waiting.job_id == JobRow.id, waiting.state == UnitState.PENDING, is_due)
        under_way, own_under_way = _under_way(JobRow), _under_way(own)
        is_before = or_(
            JobRow.priority > own.priority, and_(JobRow.priority == own.priority, under_way < own_under_way)
        )
        urgent_job = (
            select(JobRow.id)
            .join(own, own.id == select(UnitRow.job_id).where(UnitRow.id == unit_id).scalar_subquery())
            .where(JobRow.state == JobState.RUNNING, JobRow.id != own.id, can_begin, is_before)
            .order_by(JobRow.priority.desc(), under_way, JobRow.id)
            .limit(1)
            .scalar_subquery()
        )
        first = (
            select(waiting.id)
            .where(waiting.job_id == urgent_job, waiting.state == UnitState.PENDING, is_due)
            .order_by(waiting.position)
            .limit(1)
        )
        with self._transactions.rows() as connection:
            return connection.scalar(first)

    def idle_jobs(self, idle_seconds: float, limit: int = 100) -> Sequence[Job]:
        """Return unfinished jobs that nobody has written to for a while, longest idle first."""
        cutoff = self._clock.now() - timedelta(seconds=idle_seconds)
        unit_moved = exists().where(UnitRow.job_id == JobRow.id, UnitRow.updated_at > cutoff)
        query = (
            select(JobRow)
            .where(JobRow.state.in_(UNFINISHED), JobRow.updated_at <= cutoff, ~unit_moved, ~waits_only())
            .order_by(JobRow.updated_at, JobRow.id)
            .limit(limit)
        )
        with self._transactions.rows() as connection:
            return [JobRow.as_job(row) for row in connection.execute(query)]

    def overdue_jobs(self, limit: int = 100) -> Sequence[Job]:
        """Return jobs that should have ended by now, longest overdue first; none that publishes what was approved."""
        approved = exists().where(
            OutputRow.job_id == JobRow.id,
            OutputRow.state == OutputState.STAGED,
            OutputRow.approval == Approval.APPROVED,
        )
        is_overdue = JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)), JobRow.deadline_at <= self._clock.now()
        query = select(JobRow).where(*is_overdue, ~approved).order_by(JobRow.deadline_at, JobRow.id).limit(limit)
        with self._transactions.rows() as connection:
            return [JobRow.as_job(row) for row in connection.execute(query)]

    def ping(self) -> None:
        """Reach the database and compare its schema's revision with this code's.

        Raises:
            StoreUnavailable: The database is away, or its schema is of another revision.
        """
        with self._transactions.rows() as connection:
            found, expected = stored_revision(connection), expected_revision()
        if found != expected:
            raise StoreUnavailable(
                f"the database's schema is at revision {found}, this code expects {expected}; run "
                "python -m crossfade_stores.migrate of the same release",
                expected=expected,
                found=found,
            )


def _progress(connection: Connection, job_ids: Sequence[JobId]) -> dict[JobId, Progress]:
    found = dict.fromkeys(job_ids, Progress(0, 0, 0, 0))
    for job_id, *values in connection.execute(_PROGRESS, {"job_ids": job_ids}):
        found[job_id] = Progress(*(int(value) for value in values))
    return found


def _none_of(connection: Connection, job_id: JobId) -> list[Output]:
    """Return nothing of a job that is there; asked only where there is nothing, which is seldom.

    Raises:
        JobNotFound: There is no such job.
    """
    check_job(connection, job_id)
    return []


def _wanted(wanted: JobFilter) -> list[ColumnElement[bool]]:
    columns = {JobRow.state: wanted.state, JobRow.submitted_by: wanted.submitted_by}
    fields = {"base": wanted.base, "instruct": wanted.instruct, "destination": wanted.destination}
    return [
        *(column == value for column, value in columns.items() if value is not None),
        *(JobRow.spec[name].as_string() == value for name, value in fields.items() if value is not None),
        *(JobRow.spec[("labels", name)].as_string() == value for name, value in wanted.labels.items()),
    ]


def _under_way(job: type[JobRow]) -> ScalarSelect[int]:
    """How many units of a job are being worked on."""
    running = aliased(UnitRow)
    return (
        select(func.count())
        .select_from(running)
        .where(running.job_id == job.id, running.state == UnitState.RUNNING)
        .scalar_subquery()
    )
