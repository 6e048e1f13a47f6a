"""Webhooks on SQL: made, listed, rotated, disabled, deleted; and the whole of the webhook store in one class."""

from collections.abc import Collection, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from crossfade_core.audit import Act, Action
from crossfade_core.errors import WebhookRefused
from crossfade_core.ports import Clock
from crossfade_core.webhooks import (
    MAX_WEBHOOKS,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookId,
)
from crossfade_stores.audit_log import note_act
from crossfade_stores.ids import new_id
from crossfade_stores.transactions import Transactions, lock_name
from crossfade_stores.webhook_deliveries import WebhookDeliveries
from crossfade_stores.webhook_rows import find_webhook
from crossfade_stores.webhook_tables import DeliveryRow, WebhookRow


class SqlWebhookStore(WebhookDeliveries):
    """Webhooks on SQLite or PostgreSQL; see `crossfade_core.webhook_store` for what each method promises."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(Transactions(engine), clock)

    def create_webhook(self, new: NewWebhook) -> Webhook:
        """Store a webhook.

        Raises:
            WebhookRefused: Its owner has too many.
        """
        now = self._clock.now()
        row = WebhookRow(
            id=WebhookId(new_id("hook", now)),
            owner=new.owner,
            url=new.url,
            events=sorted(new.events),
            every_job=new.every_job,
            created_at=now,
            generation=1,
            kept_generation=1,
        )
        with self._transactions.write() as session:
            lock_name(session, f"webhooks of {new.owner}")  # so that two at once are counted in turn
            own = select(func.count()).select_from(WebhookRow).where(WebhookRow.owner == new.owner)
            if (session.scalar(own) or 0) >= MAX_WEBHOOKS:
                raise WebhookRefused(f"{new.owner!r} has {MAX_WEBHOOKS} webhooks, the most there may be; delete one")
            session.add(row)
            session.flush()
            asked = {"host": _host(row.url), "events": row.events, "every_job": row.every_job}
            note_act(session, Act(new.owner, Action.WEBHOOK_CREATED, row.id, asked), now)
            return row.as_webhook()

    def list_webhooks(self, owner: str | None = None) -> Sequence[Webhook]:
        """Return webhooks, oldest first."""
        query = select(WebhookRow).order_by(WebhookRow.id)
        if owner is not None:
            query = query.where(WebhookRow.owner == owner)
        with self._transactions.read() as session:
            return [row.as_webhook() for row in session.scalars(query)]

    def get_webhook(self, webhook_id: WebhookId) -> Webhook:
        """Return a webhook.

        Raises:
            WebhookNotFound: There is no such webhook.
        """
        with self._transactions.read() as session:
            return find_webhook(session, webhook_id).as_webhook()

    def rotate_webhook(self, webhook_id: WebhookId, by: str) -> Webhook:
        """Give a webhook its next secret and enable it.

        Raises:
            WebhookNotFound: There is no such webhook.
        """
        now = self._clock.now()
        with self._transactions.write() as session:
            row = find_webhook(session, webhook_id, is_locked=True)
            if not row.as_webhook().is_rotating(now):
                row.kept_generation = row.generation
            row.generation, row.rotated_at, row.disabled_at = row.generation + 1, now, None
            note_act(session, Act(by, Action.WEBHOOK_ROTATED, row.id), now)
            return row.as_webhook()

    def disable_webhook(self, webhook_id: WebhookId) -> None:
        """Send it nothing more."""
        now = self._clock.now()
        with self._transactions.write() as session:
            disable(session, [webhook_id], now)

    def delete_webhook(self, webhook_id: WebhookId, by: str) -> None:
        """Forget a webhook and its deliveries.

        Raises:
            WebhookNotFound: There is no such webhook.
        """
        with self._transactions.write() as session:
            row = find_webhook(session, webhook_id, is_locked=True)
            session.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id))
            session.delete(row)
            note_act(session, Act(by, Action.WEBHOOK_DELETED, webhook_id, {"host": _host(row.url)}), self._clock.now())


def disable(session: Session, webhooks: Collection[WebhookId], now: datetime) -> None:
    """Send webhooks nothing more, within a transaction; what was to be sent to them fails."""
    enabled = (WebhookRow.id.in_(webhooks), WebhookRow.disabled_at.is_(None))
    session.execute(update(WebhookRow).where(*enabled).values(disabled_at=now))
    pending = (DeliveryRow.webhook_id.in_(webhooks), DeliveryRow.state == DeliveryState.PENDING)
    session.execute(update(DeliveryRow).where(*pending).values(state=DeliveryState.FAILED, next_at=None))


def _host(url: str) -> str:
    """Return what of a webhook's URL may be told to others: its path and query may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"
