"""What every method of the store does with a job's row: find it, lock it, append to its history.

The one locking rule: whoever changes a job, its outputs, its plan or its history holds the job row's lock first.
Hence events are numbered without gaps, and two units that complete at once complete one after the other. Only
renewing a lease goes without it. On SQLite a writing transaction excludes all others, which comes to the same.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, bindparam, select
from sqlalchemy.orm import Session

from crossfade_core.errors import JobNotFound
from crossfade_core.job import JobId, Phase, UnitId
from crossfade_stores.job_tables import EventRow, JobRow, UnitRow
from crossfade_stores.webhook_rows import tell_webhooks

T = TypeVar("T")

_JOB: Final = select(JobRow).where(JobRow.id == bindparam("id"))


def read_job(connection: Connection, job_id: JobId) -> Row[Any]:
    """Return the job's columns as they stand.

    Raises:
        JobNotFound: There is no such job.
    """
    return _require(connection.execute(_JOB, {"id": job_id}).one_or_none(), job_id)


def find_job(session: Session, job_id: JobId) -> JobRow:
    """Return the job's row, not locked.

    Raises:
        JobNotFound: There is no such job.
    """
    return _require(session.get(JobRow, job_id), job_id)


def check_job(connection: Connection, job_id: JobId) -> None:
    """See that there is such a job, without reading it.

    Raises:
        JobNotFound: There is none.
    """
    _require(connection.scalar(select(JobRow.id).where(JobRow.id == job_id)), job_id)


def lock_job(session: Session, job_id: JobId) -> JobRow:
    """Return the job's row, locked until the transaction ends.

    Raises:
        JobNotFound: There is no such job.
    """
    return _require(session.get(JobRow, job_id, with_for_update=True), job_id)


def lock_job_of_unit(session: Session, unit_id: UnitId) -> JobRow | None:
    """Return the row of the unit's job, locked until the transaction ends, or None for an unknown unit."""
    return session.scalar(
        select(JobRow)
        .join(UnitRow, UnitRow.job_id == JobRow.id)
        .where(UnitRow.id == unit_id)
        .with_for_update(of=JobRow)
    )


def append_event(session: Session, job: JobRow, type: str, data: Mapping[str, Any], now: datetime) -> None:
    """Append an event to the history of a locked job, and tell the webhooks; the job counts as updated."""
    job.last_sequence += 1
    job.updated_at = now
    session.add(EventRow(job_id=job.id, sequence=job.last_sequence, type=type, data=dict(data), created_at=now))
    tell_webhooks(session, job, type, data, now)


def _require(found: T | None, job_id: JobId) -> T:
    if found is None:
        raise JobNotFound(f"there is no job {job_id}; GET /v1/merges lists those there are", job=job_id)
    return found


def enter_phase(session: Session, job: JobRow, phase: Phase, now: datetime) -> None:
    """Have a locked job go into a phase, with its event; nothing happens where it is in it already."""
    if job.phase is not phase:
        job.phase = phase
        append_event(session, job, "job.phase", {"phase": phase}, now)
