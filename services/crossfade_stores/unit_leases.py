"""Leases on units: claim, renew, complete, give back, and find those whose holder is gone.

Every change of a unit is one conditional UPDATE: it names the state and the fence it expects, and the row count tells
whether it found them. Never sends a message; what to do with an expired unit is the sweep's affair.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, CursorResult, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from crossfade_core.errors import JobCancelled, LeaseLost
from crossfade_core.job import TERMINAL, JobId, JobState, Unit, UnitId, UnitState
from crossfade_stores.job_rows import append_event, check_job, lock_job_of_unit
from crossfade_stores.job_tables import JobRow, UnitRow
from crossfade_stores.transactions import StoreSide


class UnitLeases(StoreSide):
    """The unit side of the job store; see `crossfade_core.job_store.JobStore` for what each method promises."""

    def claim_unit(self, unit_id: UnitId, owner: str, lease_seconds: float) -> Unit | None:
        """Lease a unit that is free, or whose lease has expired, or return None."""
        now = self._clock.now()
        is_expired = and_(UnitRow.state == UnitState.RUNNING, UnitRow.lease_expires_at <= now)
        is_due = or_(UnitRow.not_before.is_(None), UnitRow.not_before <= now)
        free = or_(and_(UnitRow.state == UnitState.PENDING, is_due), is_expired)
        with self._transactions.write() as session:
            job = lock_job_of_unit(session, unit_id)
            if job is None or job.state is not JobState.RUNNING:
                return None
            claimed = _update_unit(
                session,
                and_(UnitRow.id == unit_id, free),
                state=UnitState.RUNNING,
                fence=UnitRow.fence + 1,
                deaths=UnitRow.deaths + case((is_expired, 1), else_=0),
                not_before=None,
                bytes_done=0,
                lease_owner=owner,
                lease_expires_at=now + timedelta(seconds=lease_seconds),
                updated_at=now,
            )
            if not claimed:
                return None
            unit = session.get_one(UnitRow, unit_id).as_unit()
            started = {"position": unit.position, "fence": unit.fence, "worker": owner}
            append_event(session, job, "unit.started", started, now)
            return unit

    def renew_lease(self, unit_id: UnitId, fence: int, lease_seconds: float, bytes_done: int) -> None:
        """Extend a lease: one UPDATE of one row, without the job's lock, since every worker does it all the time.

        Raises:
            LeaseLost: `fence` is no longer the unit's newest, or the unit is not RUNNING.
            JobCancelled: The job left RUNNING.
        """
        now = self._clock.now()
        job_state = select(JobRow.state).where(JobRow.id == UnitRow.job_id).scalar_subquery()
        with self._transactions.write() as session:
            renewed = _update_unit(
                session,
                and_(_held(unit_id, fence), job_state == JobState.RUNNING),
                lease_expires_at=now + timedelta(seconds=lease_seconds),
                bytes_done=bytes_done,
                updated_at=now,
            )
            if renewed:
                return
            if session.scalar(select(UnitRow.id).where(_held(unit_id, fence))) is None:
                raise _lease_lost(unit_id, fence)
        raise JobCancelled(f"the job of unit {unit_id} is no longer RUNNING; drop what was made of it", unit=unit_id)

    def complete_unit(self, unit_id: UnitId, fence: int, result: Mapping[str, Any]) -> int:
        """Mark a unit DONE and return how many of its job's are not; exactly one completion sees 0.

        Raises:
            LeaseLost: `fence` is no longer the unit's newest, the unit is not RUNNING, or its job has ended.
        """
        now = self._clock.now()
        with self._transactions.write() as session:
            job = lock_job_of_unit(session, unit_id)
            if job is None or job.state in TERMINAL:
                raise _lease_lost(unit_id, fence)
            completed = _update_unit(
                session,
                _held(unit_id, fence),
                state=UnitState.DONE,
                bytes_done=UnitRow.bytes_total,
                lease_owner=None,
                lease_expires_at=None,
                result=dict(result),
                updated_at=now,
            )
            if not completed:
                raise _lease_lost(unit_id, fence)
            position = session.scalar(select(UnitRow.position).where(UnitRow.id == unit_id))
            job.units_left -= 1
            append_event(session, job, "unit.done", {"position": position, "remaining": job.units_left}, now)
            return job.units_left

    def release_unit(self, unit_id: UnitId, fence: int) -> bool:
        """Give a unit back; False for a stale fence. The row's time stays, so that `idle_jobs` sees it soon."""
        with self._transactions.write() as session:
            return _update_unit(
                session, _held(unit_id, fence), state=UnitState.PENDING, lease_owner=None, lease_expires_at=None
            )

    def fail_unit(self, unit_id: UnitId, fence: int, wait_seconds: float, error: Mapping[str, Any]) -> None:
        """Give a unit back that failed; no-op for a stale fence, or a job that has ended."""
        now = self._clock.now()
        with self._transactions.write() as session:
            job = lock_job_of_unit(session, unit_id)
            if job is None or job.state in TERMINAL:
                return
            released = _update_unit(
                session,
                _held(unit_id, fence),
                state=UnitState.PENDING,
                failures=UnitRow.failures + 1,
                not_before=now + timedelta(seconds=wait_seconds),
                lease_owner=None,
                lease_expires_at=None,
            )
            if released:
                unit = session.get_one(UnitRow, unit_id)
                data = {"position": unit.position, "failures": unit.failures, "wait_seconds": wait_seconds}
                append_event(session, job, "unit.failed", {**data, "error": dict(error)}, now)

    def expire_unit(self, unit_id: UnitId, fence: int) -> bool:
        """Take a unit from a holder that fell silent; False where it has not."""
        now = self._clock.now()
        with self._transactions.write() as session:
            job = lock_job_of_unit(session, unit_id)
            expired = job is not None and _update_unit(
                session,
                and_(_held(unit_id, fence), UnitRow.lease_expires_at <= now),
                state=UnitState.PENDING,
                deaths=UnitRow.deaths + 1,
                lease_owner=None,
                lease_expires_at=None,
            )
            if job is None or not expired:
                return False
            unit = session.get_one(UnitRow, unit_id)
            append_event(session, job, "unit.lost", {"position": unit.position, "deaths": unit.deaths}, now)
            return True

    def due_units(self, limit: int = 100) -> Sequence[Unit]:
        """Return units whose wait is over, longest due first, and forget that they waited."""
        due = (
            select(UnitRow)
            .join(JobRow, JobRow.id == UnitRow.job_id)
            .where(JobRow.state == JobState.RUNNING, UnitRow.state == UnitState.PENDING)
            .where(UnitRow.not_before <= self._clock.now())
            .order_by(UnitRow.not_before, UnitRow.id)
            .limit(limit)
            .with_for_update(of=UnitRow, skip_locked=True)
        )
        with self._transactions.write() as session:
            rows = list(session.scalars(due))
            units = [row.as_unit() for row in rows]
            for row in rows:
                row.not_before = None
            return units

    def live_leases(self, job_id: JobId) -> int:
        """Count the job's units that somebody still works on.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.rows() as connection:
            check_job(connection, job_id)
            now = self._clock.now()
            return _count(
                connection, UnitRow.job_id == job_id, UnitRow.state == UnitState.RUNNING, UnitRow.lease_expires_at > now
            )

    def expired_units(self, limit: int = 100) -> Sequence[Unit]:
        """Return units of RUNNING jobs whose holder stopped renewing, longest dead first."""
        expired = (
            select(UnitRow)
            .join(JobRow, JobRow.id == UnitRow.job_id)
            .where(JobRow.state == JobState.RUNNING, UnitRow.state == UnitState.RUNNING)
            .where(UnitRow.lease_expires_at <= self._clock.now())
            .order_by(UnitRow.lease_expires_at, UnitRow.id)
            .limit(limit)
        )
        with self._transactions.rows() as connection:
            return [UnitRow.as_unit(row) for row in connection.execute(expired)]


def _held(unit_id: UnitId, fence: int) -> ColumnElement[bool]:
    return and_(UnitRow.id == unit_id, UnitRow.state == UnitState.RUNNING, UnitRow.fence == fence)


def _update_unit(session: Session, where: ColumnElement[bool], **values: object) -> bool:
    statement = update(UnitRow).where(where).values(values).execution_options(synchronize_session=False)
    return cast("CursorResult[Any]", session.execute(statement)).rowcount == 1


def _count(within: Session | Connection, *where: ColumnElement[bool]) -> int:
    return within.scalar(select(func.count()).select_from(UnitRow).where(*where)) or 0


def _lease_lost(unit_id: UnitId, fence: int) -> LeaseLost:
    return LeaseLost(
        f"the lease on unit {unit_id} with fence {fence} is no longer held; drop what was made under it", unit=unit_id
    )
