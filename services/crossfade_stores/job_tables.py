"""The tables of jobs, typed, and how a row becomes the record that the core knows. Never queries and never decides.

A record is made of a session's row as well as of a plain one with the same columns. The same on SQLite and PostgreSQL.
Every change here needs a migration; a test holds the two against each other.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, LargeBinary, Row, String
from sqlalchemy.orm import Mapped, mapped_column

from crossfade_core.approval import MAX_REASON_CHARACTERS
from crossfade_core.job import (
    Approval,
    Event,
    Job,
    JobId,
    JobState,
    Output,
    OutputState,
    Phase,
    Unit,
    UnitId,
    UnitState,
)
from crossfade_core.spec import ACCEPTED, MergeSpec
from crossfade_stores.table_base import ID_LENGTH, Base


class JobRow(Base):
    """One job.

    Kept under the row's lock: `last_sequence`, the number of its newest event, and `units_left`, how many of its units
    are not DONE; to count ten thousand with each completion would cost the database more than all else.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "state", "id"),
        Index(None, "merge_digest"),
        Index(None, "staged_until"),
        Index(None, "submitted_by", "state"),
    )

    id: Mapped[JobId] = mapped_column(String(ID_LENGTH), primary_key=True)
    state: Mapped[JobState]
    phase: Mapped[Phase]
    spec: Mapped[dict[str, Any]]
    spec_digest: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    merging_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    priority: Mapped[int] = mapped_column(server_default="0")
    submitted_by: Mapped[str | None] = mapped_column(String(63))
    merge_digest: Mapped[str | None] = mapped_column(String(80))
    staged_until: Mapped[datetime | None]
    plan_summary: Mapped[dict[str, Any] | None]
    units_left: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[dict[str, Any] | None]
    last_sequence: Mapped[int]
    control_owner: Mapped[str | None] = mapped_column(String(255))
    control_expires_at: Mapped[datetime | None]

    def as_job(self: "JobRow | Row[Any]") -> Job:
        """Return the row as the core's record."""
        return Job(
            id=self.id,
            state=self.state,
            phase=self.phase,
            spec=MergeSpec.model_validate(self.spec, context=ACCEPTED),
            spec_digest=self.spec_digest,
            created_at=self.created_at,
            updated_at=self.updated_at,
            started_at=self.started_at,
            merging_at=self.merging_at,
            cancel_requested_at=self.cancel_requested_at,
            finished_at=self.finished_at,
            deadline_at=self.deadline_at,
            submitted_by=self.submitted_by,
            merge_digest=self.merge_digest,
            staged_until=self.staged_until,
            plan_summary=self.plan_summary,
            error=self.error,
        )


class OutputRow(Base):
    """One output of a job, in the order of its λ list."""

    __tablename__ = "outputs"

    job_id: Mapped[JobId] = mapped_column(String(ID_LENGTH), ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    lam: Mapped[float] = mapped_column(Double)
    name: Mapped[str] = mapped_column(String(1024))
    state: Mapped[OutputState]
    uri: Mapped[str | None] = mapped_column(String(4096))
    files: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    statistics: Mapped[dict[str, Any] | None]
    staged_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    approval: Mapped[Approval] = mapped_column(server_default=Approval.PENDING)
    approval_reason: Mapped[str | None] = mapped_column(String(MAX_REASON_CHARACTERS))
    decided_by: Mapped[str | None] = mapped_column(String(63))
    decided_at: Mapped[datetime | None]
    signatures: Mapped[dict[str, Any] | None]
    inputs: Mapped[dict[str, Any] | None]

    def as_output(self: "OutputRow | Row[Any]") -> Output:
        """Return the row as the core's record."""
        return Output(
            self.job_id,
            self.position,
            self.lam,
            self.name,
            self.state,
            uri=self.uri,
            files=self.files,
            error=self.error,
            statistics=self.statistics,
            staged_at=self.staged_at,
            ended_at=self.ended_at,
            approval=self.approval,
            approval_reason=self.approval_reason,
            decided_by=self.decided_by,
            decided_at=self.decided_at,
            signatures=self.signatures or {},
        )


class StagedContentRow(Base):
    """A small file of a STAGED output that its destination cannot keep before it is published; goes with its job."""

    __tablename__ = "staged_contents"

    job_id: Mapped[JobId] = mapped_column(String(ID_LENGTH), ForeignKey("jobs.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class UnitRow(Base):
    """One unit of a job. `updated_at` is its own, so that renewing a lease writes this row and no other."""

    __tablename__ = "units"
    __table_args__ = (
        Index(None, "job_id", "position", unique=True),
        Index(None, "state", "lease_expires_at"),
        Index(None, "job_id", "state", "position"),
        Index(None, "not_before"),
    )

    id: Mapped[UnitId] = mapped_column(String(ID_LENGTH), primary_key=True)
    job_id: Mapped[JobId] = mapped_column(String(ID_LENGTH), ForeignKey("jobs.id"))
    position: Mapped[int]
    state: Mapped[UnitState]
    shard: Mapped[dict[str, Any]]
    bytes_total: Mapped[int] = mapped_column(BigInteger)
    bytes_done: Mapped[int] = mapped_column(BigInteger)
    fence: Mapped[int]
    failures: Mapped[int] = mapped_column(server_default="0")
    deaths: Mapped[int] = mapped_column(server_default="0")
    not_before: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(String(255))
    lease_expires_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    updated_at: Mapped[datetime]

    def as_unit(self: "UnitRow | Row[Any]") -> Unit:
        """Return the row as the core's record."""
        return Unit(
            id=self.id,
            job_id=self.job_id,
            position=self.position,
            state=self.state,
            shard=self.shard,
            bytes_total=self.bytes_total,
            bytes_done=self.bytes_done,
            fence=self.fence,
            failures=self.failures,
            deaths=self.deaths,
            not_before=self.not_before,
            lease_owner=self.lease_owner,
            lease_expires_at=self.lease_expires_at,
            result=self.result,
        )


class EventRow(Base):
    """One event of a job's history."""

    __tablename__ = "events"

    job_id: Mapped[JobId] = mapped_column(String(ID_LENGTH), ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(64))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    def as_event(self: "EventRow | Row[Any]") -> Event:
        """Return the row as the core's record."""
        return Event(self.job_id, self.sequence, self.type, self.data, self.created_at)


class RequestRow(Base):
    """One request with an idempotency key; without a job while it is being answered."""

    __tablename__ = "requests"
    __table_args__ = (Index(None, "created_at"),)

    caller: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(80))
    attempt: Mapped[str] = mapped_column(String(40))
    job_id: Mapped[JobId | None] = mapped_column(String(ID_LENGTH), ForeignKey("jobs.id"))
    created_at: Mapped[datetime]
