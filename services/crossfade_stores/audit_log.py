"""The audit log on SQL: an entry goes in with the transaction of the act it tells of."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from crossfade_core.audit import Act, AuditEntry, AuditFilter, AuditId
from crossfade_core.ports import Clock
from crossfade_stores.access_tables import AuditRow
from crossfade_stores.ids import new_id
from crossfade_stores.transactions import StoreSide, Transactions


class SqlAuditLog(StoreSide):
    """The log as it is read; see `crossfade_core.audit.AuditLog`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(Transactions(engine), clock)

    def list_entries(
        self, wanted: AuditFilter | None = None, *, limit: int = 50, before: AuditId | None = None
    ) -> Sequence[AuditEntry]:
        """Return entries, newest first."""
        wanted = wanted or AuditFilter()
        equal = {AuditRow.actor: wanted.actor, AuditRow.action: wanted.action, AuditRow.subject: wanted.subject}
        query = select(AuditRow).where(*(column == value for column, value in equal.items() if value is not None))
        if wanted.since is not None:
            query = query.where(AuditRow.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(AuditRow.at < wanted.until)
        if before is not None:
            query = query.where(AuditRow.id < before)
        with self._transactions.read() as session:
            return [row.as_entry() for row in session.scalars(query.order_by(AuditRow.id.desc()).limit(limit))]


def note_act(session: Session, act: Act, now: datetime) -> None:
    """Write an entry, within the transaction of the act."""
    entry_id = AuditId(new_id("act", now))
    session.add(
        AuditRow(id=entry_id, at=now, actor=act.actor, action=act.action, subject=act.subject, data=dict(act.data))
    )
