"""The store's door: a job comes in once, however often and at what moments the same is submitted."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from crossfade_core.audit import Act, Action
from crossfade_core.errors import AlreadyUnderWay, QueueLimitReached
from crossfade_core.job import TERMINAL, Approval, Job, JobId, JobState, OutputState, Phase
from crossfade_core.job_store import Submission
from crossfade_core.spec import MergeSpec, spec_digest
from crossfade_stores.access_tables import KeyRow
from crossfade_stores.audit_log import note_act
from crossfade_stores.ids import new_id
from crossfade_stores.job_requests import answer
from crossfade_stores.job_rows import append_event
from crossfade_stores.job_tables import JobRow, OutputRow
from crossfade_stores.transactions import StoreSide, lock_name

UNFINISHED: Final = [state for state in JobState if state not in TERMINAL]
_UNDER_WAY: Final = (JobState.QUEUED, JobState.RUNNING)


class JobSubmissions(StoreSide):
    """The submitting side of the job store; see `crossfade_core.job_store.JobStore` for what each method promises."""

    def create_job(self, spec: MergeSpec, submission: Submission | None = None) -> Job:
        """Store a new job, its outputs and its first event.

        Raises:
            AlreadyUnderWay: An unfinished job makes the same.
            QueueLimitReached: The key has as many unfinished jobs as it may have.
        """
        now, submission = self._clock.now(), submission or Submission()
        job = JobRow(
            id=JobId(new_id("job", now)),
            state=JobState.QUEUED,
            phase=Phase.WAITING,
            spec=spec.model_dump(mode="json"),
            spec_digest=spec_digest(spec),
            created_at=now,
            updated_at=now,
            deadline_at=deadline(spec, now),
            priority=spec.priority,
            submitted_by=submission.submitted_by,
            merge_digest=submission.merge_digest,
            units_left=0,
            last_sequence=0,
        )
        names = spec.output_names(job.id)
        with self._transactions.write() as session:
            if submission.merge_digest is not None and spec.is_made_once:
                check_first(session, submission.merge_digest)
            check_limit(session, submission.submitted_by)
            session.add(job)
            session.flush()
            session.add_all(
                OutputRow(job_id=job.id, position=position, lam=lam, name=name, state=OutputState.PENDING, files={})
                for position, (lam, name) in enumerate(zip(spec.lambdas, names, strict=True))
            )
            append_event(session, job, "job.queued", {"state": job.state, "phase": job.phase}, now)
            if submission.submitted_by is not None:
                note_act(session, Act(submission.submitted_by, Action.MERGE_SUBMITTED, job.id, _asked(spec)), now)
            if submission.request is not None:
                answer(session, submission.request, job.id)
            return job.as_job()

    def check_limit(self, name: str | None) -> None:
        """See whether the key of that name may have one more unfinished job at this moment.

        Raises:
            QueueLimitReached: It may not.
        """
        with self._transactions.read() as session:
            _check_limit(session, session.scalar(select(KeyRow).where(KeyRow.name == name)))

    def find_merge(self, merge_digest: str) -> Job | None:
        """Return the newest job of a merge digest that is under way or has succeeded."""
        standing = (*_UNDER_WAY, JobState.SUCCEEDED)
        query = select(JobRow).where(JobRow.merge_digest == merge_digest, JobRow.state.in_(standing))
        with self._transactions.rows() as connection:
            row = connection.execute(query.order_by(JobRow.id.desc()).limit(1)).one_or_none()
            return None if row is None else JobRow.as_job(row)


def _asked(spec: MergeSpec) -> dict[str, object]:
    return {"sources": dict(spec.sources), "lambdas": list(spec.lambdas), "destination": spec.destination}


def deadline(spec: MergeSpec, now: datetime) -> datetime | None:
    """Return when a job that begins to wait at `now` must have ended."""
    return None if spec.deadline_seconds is None else now + timedelta(seconds=spec.deadline_seconds)


def check_first(session: Session, merge_digest: str) -> None:
    """See that no unfinished job makes the same, until the transaction ends.

    Raises:
        AlreadyUnderWay: One does.
    """
    lock_name(session, merge_digest)  # of two submissions at once, each would see no other
    query = select(JobRow.id).where(JobRow.merge_digest == merge_digest, JobRow.state.in_(_UNDER_WAY)).limit(1)
    twin = session.scalar(query)
    if twin is not None:
        raise AlreadyUnderWay(f"job {twin} makes the same; follow that one, or set fresh to make it again", job=twin)


def check_limit(session: Session, name: str | None) -> None:
    """See that the key of that name may have one more unfinished job, until the transaction ends.

    Raises:
        QueueLimitReached: It may not.
    """
    # Locked, so that two submissions at once are counted in turn; but those of a key without a limit need not wait.
    limited = select(KeyRow).where(KeyRow.name == name, KeyRow.max_jobs.is_not(None))
    with session.no_autoflush:
        _check_limit(session, session.scalar(limited.with_for_update()))


def waits_only() -> ColumnElement[bool]:
    """Whether nothing can be done about a job before somebody decides: `crossfade_core.approval.waits_only` in SQL."""
    is_staged = OutputRow.state == OutputState.STAGED
    waiting = exists().where(OutputRow.job_id == JobRow.id, is_staged, OutputRow.approval == Approval.PENDING)
    to_do = or_(OutputRow.state == OutputState.PENDING, and_(is_staged, OutputRow.approval != Approval.PENDING))
    return and_(JobRow.state == JobState.RUNNING, waiting, ~exists().where(OutputRow.job_id == JobRow.id, to_do))


def _check_limit(session: Session, key: KeyRow | None) -> None:
    if key is None or key.max_jobs is None:
        return
    own = select(func.count()).select_from(JobRow)
    counted = (JobRow.submitted_by == key.name, JobRow.state.in_(UNFINISHED), ~waits_only())
    unfinished = session.scalar(own.where(*counted)) or 0
    if unfinished >= key.max_jobs:
        raise QueueLimitReached(
            f"key {key.name!r} has {unfinished} unfinished jobs and may have {key.max_jobs}; wait for one to end, "
            "cancel one, or ask the operator for more",
            unfinished=unfinished,
            max_jobs=key.max_jobs,
        )
