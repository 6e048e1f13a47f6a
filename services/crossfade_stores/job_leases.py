"""The control lease of a job: planning and publishing happen in one process at a time, whatever messages say."""

from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, update

from crossfade_core.job import JobId
from crossfade_stores.job_rows import find_job
from crossfade_stores.job_tables import JobRow
from crossfade_stores.transactions import StoreSide


class JobLeases(StoreSide):
    """The control side of the job store; see `crossfade_core.job_store.JobStore` for what each method promises."""

    def lease_job(self, job_id: JobId, owner: str, lease_seconds: float) -> bool:
        """Take or renew the control lease, or return False while another owner holds it.

        Raises:
            JobNotFound: There is no such job.
        """
        now = self._clock.now()
        free = or_(JobRow.control_owner.is_(None), JobRow.control_owner == owner, JobRow.control_expires_at <= now)
        with self._transactions.write() as session:
            find_job(session, job_id)
            statement = (
                update(JobRow)
                .where(JobRow.id == job_id, free)
                .values(control_owner=owner, control_expires_at=now + timedelta(seconds=lease_seconds))
                .execution_options(synchronize_session=False)
            )
            return cast("CursorResult[Any]", session.execute(statement)).rowcount == 1

    def release_job(self, job_id: JobId, owner: str) -> None:
        """Give the control lease back; no-op for anybody but its holder."""
        with self._transactions.write() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.control_owner == owner)
                .values(control_owner=None, control_expires_at=None)
                .execution_options(synchronize_session=False)
            )
