"""The tables, typed, and how a row becomes the record that the core knows. Never queries and never decides.

A record is made of a session's row as well as of a plain one with the same columns. The same on SQLite and PostgreSQL.
Every change here needs a migration; a test holds the two against each other.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Row,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from crossfade_core.approval import MAX_REASON_CHARACTERS
from crossfade_core.audit import Action, AuditEntry, AuditId
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
from crossfade_core.keys import ApiKey, KeyId, Scope
from crossfade_core.spec import ACCEPTED, MergeSpec
from crossfade_core.webhooks import Attempt, Delivery, DeliveryId, DeliveryState, EventType, Webhook, WebhookId

ID_LENGTH = 40
_JsonObject = JSON(none_as_null=True)


class UtcDateTime(TypeDecorator[datetime]):
    """A time that goes in and comes out with its zone, UTC, also on SQLite, which stores none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any zone into UTC; a time without a zone is a bug of the caller."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value!r} has no zone; the store takes times with their zone only")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's times their zone, and PostgreSQL's (in the session's zone) UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _text_enum(kind: type[StrEnum]) -> Enum:
    # As text, not as PostgreSQL's enum type: a new state must not need a migration.
    return Enum(kind, native_enum=False, length=32, values_callable=lambda states: [state.value for state in states])


class Base(DeclarativeBase):
    """What all tables share: names for constraints, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's own class attribute, read once)
        datetime: UtcDateTime(),
        dict[str, Any]: _JsonObject,
        list[str]: _JsonObject,
        list[dict[str, Any]]: _JsonObject,
        JobState: _text_enum(JobState),
        Phase: _text_enum(Phase),
        OutputState: _text_enum(OutputState),
        Approval: _text_enum(Approval),
        UnitState: _text_enum(UnitState),
        DeliveryState: _text_enum(DeliveryState),
        Action: _text_enum(Action),
    }


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


class KeyRow(Base):
    """One API key; `digest` is `crossfade_core.keys.secret_digest` of its secret."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[KeyId] = mapped_column(String(ID_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(63))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    max_jobs: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    def as_key(self: "KeyRow | Row[Any]") -> ApiKey:
        """Return the row as the core's record."""
        return ApiKey(
            id=self.id,
            name=self.name,
            scopes=frozenset(Scope(scope) for scope in self.scopes),
            created_at=self.created_at,
            max_jobs=self.max_jobs,
            requests_per_minute=self.requests_per_minute,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
        )


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


class WebhookRow(Base):
    """One webhook; its secrets are derived and kept nowhere."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "owner"),)

    id: Mapped[WebhookId] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(String(63))
    url: Mapped[str] = mapped_column(String(2048))
    events: Mapped[list[str]]
    every_job: Mapped[bool]
    created_at: Mapped[datetime]
    generation: Mapped[int]
    kept_generation: Mapped[int]
    rotated_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]

    def as_webhook(self) -> Webhook:
        """Return the row as the core's record."""
        return Webhook(
            id=self.id,
            owner=self.owner,
            url=self.url,
            events=frozenset(EventType(name) for name in self.events),
            every_job=self.every_job,
            created_at=self.created_at,
            generation=self.generation,
            kept_generation=self.kept_generation,
            rotated_at=self.rotated_at,
            disabled_at=self.disabled_at,
        )


class DeliveryRow(Base):
    """One message to one webhook."""

    __tablename__ = "deliveries"
    __table_args__ = (Index(None, "webhook_id", "id"), Index(None, "state", "next_at"), Index(None, "created_at"))

    id: Mapped[DeliveryId] = mapped_column(String(ID_LENGTH), primary_key=True)
    webhook_id: Mapped[WebhookId] = mapped_column(String(ID_LENGTH), ForeignKey("webhooks.id"))
    type: Mapped[str] = mapped_column(String(64))
    data: Mapped[dict[str, Any]]
    state: Mapped[DeliveryState]
    created_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    job_id: Mapped[JobId | None] = mapped_column(String(ID_LENGTH), ForeignKey("jobs.id"))
    sequence: Mapped[int | None]
    replay_of: Mapped[DeliveryId | None] = mapped_column(String(ID_LENGTH))
    attempts: Mapped[list[dict[str, Any]]]

    def as_delivery(self) -> Delivery:
        """Return the row as the core's record."""
        return Delivery(
            id=self.id,
            webhook_id=self.webhook_id,
            type=self.type,
            data=self.data,
            state=self.state,
            created_at=self.created_at,
            next_at=self.next_at,
            job_id=self.job_id,
            sequence=self.sequence,
            replay_of=self.replay_of,
            attempts=tuple(Attempt.from_record(record) for record in self.attempts),
        )


class AuditRow(Base):
    """One entry of the audit log; never changed."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "actor", "id"), Index(None, "subject", "id"))

    id: Mapped[AuditId] = mapped_column(String(ID_LENGTH), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(63))
    action: Mapped[Action]
    subject: Mapped[str] = mapped_column(String(64))
    data: Mapped[dict[str, Any]]

    def as_entry(self) -> AuditEntry:
        """Return the row as the core's record."""
        return AuditEntry(self.id, self.at, self.actor, self.action, self.subject, self.data)
