"""The store's side of approval: outputs that wait staged, what is decided about outputs, and what is kept meanwhile."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from crossfade_core.approval import Decision, check_decision, lineage_digest, rejection
from crossfade_core.audit import Act, Action
from crossfade_core.errors import OutputNotFound
from crossfade_core.job import Approval, JobId, Output, OutputState, Phase
from crossfade_core.job_store import Kept
from crossfade_stores.audit_log import note_act
from crossfade_stores.job_rows import append_event, enter_phase, lock_job
from crossfade_stores.job_tables import JobRow, OutputRow, StagedContentRow
from crossfade_stores.transactions import StoreSide

_ACTIONS: Final = {Approval.APPROVED: Action.OUTPUT_APPROVED, Approval.REJECTED: Action.OUTPUT_REJECTED}


class JobApprovals(StoreSide):
    """The approving side of the job store; see `crossfade_core.job_store.JobStore` for what each method promises."""

    def stage_output(
        self,
        job_id: JobId,
        position: int,
        files: Mapping[str, Mapping[str, Any]],
        *,
        statistics: Mapping[str, Any] | None = None,
        kept: Kept | None = None,
    ) -> None:
        """Mark a PENDING output STAGED; an output that is anything else stays as it is.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            row = session.get_one(OutputRow, (job_id, position))
            if row.state is not OutputState.PENDING:
                return
            now = self._clock.now()
            row.state, row.error, row.staged_at = OutputState.STAGED, None, now
            row.files = {name: dict(facts) for name, facts in files.items()}
            row.statistics = dict(statistics) if statistics is not None else None
            row.inputs = dict(kept.inputs) if kept is not None else None
            _keep_contents(session, job_id, kept.contents if kept is not None else {})
            append_event(session, job, "output.staged", _told(row.as_output()), now)

    def decide_output(self, job_id: JobId, position: int, decision: Decision) -> Output:
        """Note a decision; where a STAGED output waits for it, its job goes on, or the output fails.

        Raises:
            OutputNotFound: The job has no such output.
            IllegalTransition: There is nothing to decide about.
            LineageDiffers: The decision is about another content.
            JobNotFound: There is no such job.
        """
        with self._transactions.write() as session:
            job = lock_job(session, job_id)
            row = session.get(OutputRow, (job_id, position))
            if row is None:
                raise OutputNotFound(
                    f"job {job_id} has no output {position}; GET /v1/merges/{job_id} says the position of each",
                    job=job_id,
                    position=position,
                )
            before = row.as_output()
            if not check_decision(before, job.state, decision):
                return before
            now = self._clock.now()
            row.approval, row.approval_reason = decision.approval, decision.reason
            row.decided_by, row.decided_at = decision.by, now
            data = {**_told(before), "reason": decision.reason, "by": decision.by}
            action = _ACTIONS[decision.approval]
            if row.state is OutputState.STAGED:
                enter_phase(session, job, Phase.PUBLISHING, now)
            append_event(session, job, action, data, now)
            note_act(session, Act(decision.by, action, job.id, data), now)
            if row.state is OutputState.STAGED and decision.approval is Approval.REJECTED:
                fail(session, job, row, rejection(before, decision).as_record(), now)
            return row.as_output()

    def held_contents(self, job_id: JobId, digests: Iterable[str]) -> Mapping[str, bytes]:
        """Return those of the contents with these digests that are kept for a job."""
        wanted = select(StagedContentRow.sha256, StagedContentRow.content).where(
            StagedContentRow.job_id == job_id, StagedContentRow.sha256.in_(list(digests))
        )
        with self._transactions.rows() as connection:
            return {row.sha256: row.content for row in connection.execute(wanted)}


def fail(session: Session, job: JobRow, output: OutputRow, error: Mapping[str, Any], now: datetime) -> None:
    """Mark an output of a locked job FAILED."""
    output.state, output.error, output.ended_at = OutputState.FAILED, dict(error), now
    data = {"position": output.position, "lambda": output.lam, "name": output.name, "error": output.error}
    append_event(session, job, "output.failed", data, now)


def forget_contents(session: Session, job_id: JobId) -> None:
    """Remove what was kept for a job that ends."""
    session.execute(delete(StagedContentRow).where(StagedContentRow.job_id == job_id))


def _told(output: Output) -> dict[str, Any]:
    return {
        "position": output.position,
        "lambda": output.lam,
        "name": output.name,
        "lineage_sha256": lineage_digest(output),
    }


def _keep_contents(session: Session, job_id: JobId, held: Mapping[str, bytes]) -> None:
    kept = set(session.scalars(select(StagedContentRow.sha256).where(StagedContentRow.job_id == job_id)))
    session.add_all(
        StagedContentRow(job_id=job_id, sha256=sha256, content=content)
        for sha256, content in held.items()
        if sha256 not in kept
    )
