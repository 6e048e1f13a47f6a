"""The reading side of the job store: jobs, outputs, units, events, progress. Never writes, and waits for no writer."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, ScalarSelect, and_, case, exists, func, or_, select
from sqlalchemy.orm import aliased

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import Event, Job, JobId, JobState, Output, Progress, Unit, UnitId, UnitState
from crossfade_core.ports import JobFilter, Throughput
from crossfade_stores.job_rows import find_job
from crossfade_stores.job_submissions import UNFINISHED
from crossfade_stores.schema import expected_revision, stored_revision
from crossfade_stores.tables import EventRow, JobRow, OutputRow, UnitRow
from crossfade_stores.transactions import StoreSide

_LOOKED_AT_JOBS: Final = 200
_MEASURED_JOBS: Final = 20


class JobQueries(StoreSide):
    """Questions about jobs; see `crossfade_core.ports.JobStore` for what each method promises."""

    def get_job(self, job_id: JobId) -> Job:
        """Return the job.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.read() as session:
            return find_job(session, job_id).as_job()

    def list_jobs(
        self, wanted: JobFilter | None = None, *, limit: int = 50, before: JobId | None = None
    ) -> Sequence[Job]:
        """Return jobs, newest first."""
        query = select(JobRow).where(*_wanted(wanted or JobFilter())).order_by(JobRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(JobRow.id < before)
        with self._transactions.read() as session:
            return [row.as_job() for row in session.scalars(query)]

    def list_outputs(self, job_id: JobId) -> Sequence[Output]:
        """Return the outputs in the order of the λ list."""
        with self._transactions.read() as session:
            find_job(session, job_id)
            rows = session.scalars(select(OutputRow).where(OutputRow.job_id == job_id).order_by(OutputRow.position))
            return [row.as_output() for row in rows]

    def list_units(self, job_id: JobId) -> Sequence[Unit]:
        """Return the units by position."""
        with self._transactions.read() as session:
            find_job(session, job_id)
            rows = session.scalars(select(UnitRow).where(UnitRow.job_id == job_id).order_by(UnitRow.position))
            return [row.as_unit() for row in rows]

    def list_events(self, job_id: JobId, *, after: int = 0, limit: int = 200) -> Sequence[Event]:
        """Return the events after a sequence number, oldest first."""
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.sequence > after)
        with self._transactions.read() as session:
            find_job(session, job_id)
            return [row.as_event() for row in session.scalars(query.order_by(EventRow.sequence).limit(limit))]

    def progress(self, job_id: JobId) -> Progress:
        """Add up the job's units, without reading their plans."""
        done = case((UnitRow.state == UnitState.DONE, 1), else_=0)
        sums = (func.sum(UnitRow.bytes_done), func.sum(UnitRow.bytes_total), func.sum(done), func.count())
        with self._transactions.read() as session:
            find_job(session, job_id)
            row = session.execute(select(*sums).where(UnitRow.job_id == job_id)).one()
            return Progress(*(int(value or 0) for value in row))

    def throughput(self, destination: str) -> Throughput | None:
        """Add up what the newest jobs that succeeded wrote, and how long they took."""
        seen = (JobRow.id, JobRow.merging_at, JobRow.finished_at, JobRow.spec["destination"].as_string())
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
        with self._transactions.read() as session:
            return session.scalar(first)

    def idle_jobs(self, idle_seconds: float, limit: int = 100) -> Sequence[Job]:
        """Return unfinished jobs that nobody has written to for a while, longest idle first."""
        cutoff = self._clock.now() - timedelta(seconds=idle_seconds)
        unit_moved = exists().where(UnitRow.job_id == JobRow.id, UnitRow.updated_at > cutoff)
        query = (
            select(JobRow)
            .where(JobRow.state.in_(UNFINISHED), JobRow.updated_at <= cutoff, ~unit_moved)
            .order_by(JobRow.updated_at, JobRow.id)
            .limit(limit)
        )
        with self._transactions.read() as session:
            return [row.as_job() for row in session.scalars(query)]

    def overdue_jobs(self, limit: int = 100) -> Sequence[Job]:
        """Return jobs that should have ended by now, longest overdue first."""
        query = (
            select(JobRow)
            .where(JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)), JobRow.deadline_at <= self._clock.now())
            .order_by(JobRow.deadline_at, JobRow.id)
            .limit(limit)
        )
        with self._transactions.read() as session:
            return [row.as_job() for row in session.scalars(query)]

    def ping(self) -> None:
        """Reach the database and compare its schema's revision with this code's.

        Raises:
            StoreUnavailable: The database is away, or its schema is of another revision.
        """
        with self._transactions.read() as session:
            found, expected = stored_revision(session.connection()), expected_revision()
        if found != expected:
            raise StoreUnavailable(
                f"the database's schema is at revision {found}, this code expects {expected}; run "
                "python -m crossfade_stores.migrate of the same release",
                expected=expected,
                found=found,
            )


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
