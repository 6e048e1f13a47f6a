"""The tables of who may do what and of who did it: API keys and the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Row, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from crossfade_core.audit import Action, AuditEntry, AuditId
from crossfade_core.keys import ApiKey, KeyId, Scope
from crossfade_stores.table_base import ID_LENGTH, Base


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
