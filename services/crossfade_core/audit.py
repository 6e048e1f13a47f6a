"""The audit log: who did what to what, and when. Entries are written with the act itself, and never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType, Protocol

AuditId = NewType("AuditId", str)


class Action(StrEnum):
    """What can be done that the log tells of."""

    MERGE_SUBMITTED = "merge.submitted"
    MERGE_CANCELLED = "merge.cancelled"
    MERGE_RETRIED = "merge.retried"
    OUTPUT_PUBLISHED = "output.published"
    OUTPUT_APPROVED = "output.approved"
    OUTPUT_REJECTED = "output.rejected"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_ROTATED = "webhook.rotated"
    WEBHOOK_DELETED = "webhook.deleted"


@dataclass(frozen=True)
class AuditEntry:
    """One act.

    Attributes:
        id: Sorts by age.
        at: When, UTC.
        actor: Name of the caller's key; `local` or `operator` without one. An output is published for who submitted it.
        action: What was done.
        subject: Id of the job or webhook, or name of the key, that it was done to.
        data: What else is worth knowing, such as an output's URI; never a secret.
    """

    id: AuditId
    at: datetime
    actor: str
    action: Action
    subject: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class AuditFilter:
    """Which entries to list: those of which everything that is given here is true."""

    actor: str | None = None
    action: Action | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Act:
    """An act as its maker states it, before the log gives it an id and a time."""

    actor: str
    action: Action
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)


class AuditLog(Protocol):
    """The log as it is read; every store writes to it in the transaction of the act."""

    def list_entries(
        self, wanted: AuditFilter | None = None, *, limit: int = 50, before: AuditId | None = None
    ) -> Sequence[AuditEntry]:
        """Return entries that pass the filter, newest first, older than `before`.

        Raises:
            StoreUnavailable: The database is away.
        """
