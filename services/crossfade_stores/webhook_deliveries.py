"""Deliveries on SQL: made, listed, leased to who sends them, settled. Never sends."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, func, or_, select
from sqlalchemy.orm import Session

from crossfade_core.errors import WebhookNotFound, WebhookRefused
from crossfade_core.webhooks import (
    KEPT,
    OWNER_AT_ONCE,
    TEST_EVENT,
    Attempt,
    Delivery,
    DeliveryId,
    DeliveryState,
    Webhook,
    WebhookId,
)
from crossfade_stores.transactions import StoreSide
from crossfade_stores.webhook_rows import find_webhook, new_delivery
from crossfade_stores.webhook_tables import DeliveryRow, WebhookRow


class WebhookDeliveries(StoreSide):
    """The sending side of the webhook store; see `crossfade_core.webhook_store` for what each method promises."""

    def test_webhook(self, webhook_id: WebhookId) -> Delivery:
        """Make a delivery that tells of nothing.

        Raises:
            WebhookNotFound: There is no such webhook.
            WebhookRefused: It is disabled.
        """
        with self._transactions.write() as session:
            _find_enabled(session, webhook_id)
            row = new_delivery(webhook_id, TEST_EVENT, {"webhook_id": webhook_id}, self._clock.now())
            session.add(row)
            return row.as_delivery()

    def replay_delivery(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Make a delivery with the content of an earlier one.

        Raises:
            WebhookNotFound: There is no such delivery of such a webhook.
            WebhookRefused: The webhook is disabled.
        """
        with self._transactions.write() as session:
            _find_enabled(session, webhook_id)
            old = session.get(DeliveryRow, delivery_id)
            if old is None or old.webhook_id != webhook_id:
                raise WebhookNotFound(
                    f"webhook {webhook_id} has no delivery {delivery_id}; GET /v1/webhooks/{webhook_id}/deliveries "
                    "lists those it has"
                )
            event = (old.job_id, old.sequence)
            row = new_delivery(webhook_id, old.type, old.data, self._clock.now(), event=event, replay_of=old.id)
            session.add(row)
            return row.as_delivery()

    def list_deliveries(
        self,
        webhook_id: WebhookId,
        state: DeliveryState | None = None,
        *,
        limit: int = 50,
        before: DeliveryId | None = None,
    ) -> Sequence[Delivery]:
        """Return deliveries, newest first.

        Raises:
            WebhookNotFound: There is no such webhook.
        """
        query = select(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id)
        if state is not None:
            query = query.where(DeliveryRow.state == state)
        if before is not None:
            query = query.where(DeliveryRow.id < before)
        with self._transactions.read() as session:
            find_webhook(session, webhook_id)
            return [row.as_delivery() for row in session.scalars(query.order_by(DeliveryRow.id.desc()).limit(limit))]

    def claim_deliveries(self, limit: int, lease_seconds: float) -> Sequence[tuple[Webhook, Delivery]]:
        """Take deliveries that are due, one a webhook and a few an owner."""
        now = self._clock.now()
        with self._transactions.read() as session:
            found = list(session.scalars(_due(now).limit(limit)))
        if not found:  # nearly always; on SQLite a look that writes would make everybody else wait
            return []
        still = select(DeliveryRow).where(DeliveryRow.id.in_(found), *_is_free(now)).with_for_update(skip_locked=True)
        with self._transactions.write() as session:
            rows = list(session.scalars(still))
            for row in rows:
                row.leased_until = now + timedelta(seconds=lease_seconds)
            return [(find_webhook(session, row.webhook_id).as_webhook(), row.as_delivery()) for row in rows]

    def settle_delivery(self, delivery: Delivery, attempt: Attempt, next_at: datetime | None) -> None:
        """Add an attempt to a delivery that was claimed."""
        with self._transactions.write() as session:
            row = session.get(DeliveryRow, delivery.id, with_for_update=True)
            if row is None or row.state is not DeliveryState.PENDING or len(row.attempts) != len(delivery.attempts):
                return
            row.attempts = [*row.attempts, attempt.as_record()]
            row.next_at, row.leased_until = None if attempt.is_success else next_at, None
            if row.next_at is None:
                row.state = DeliveryState.DELIVERED if attempt.is_success else DeliveryState.FAILED

    def forget_deliveries(self) -> None:
        """Forget what was settled long ago."""
        is_old = (DeliveryRow.created_at <= self._clock.now() - KEPT, DeliveryRow.state != DeliveryState.PENDING)
        with self._transactions.read() as session:
            if session.scalar(select(DeliveryRow.id).where(*is_old).limit(1)) is None:
                return
        with self._transactions.write() as session:
            session.execute(delete(DeliveryRow).where(*is_old))


def _is_free(now: datetime) -> tuple[ColumnElement[bool], ...]:
    is_idle = or_(DeliveryRow.leased_until.is_(None), DeliveryRow.leased_until <= now)
    return DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.next_at <= now, is_idle


def _due(now: datetime) -> Select[tuple[DeliveryId]]:
    """Return the query of what may be sent: the first to each webhook that nothing is on its way to, few an owner."""
    is_leased = (DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.leased_until > now)
    leased = select(DeliveryRow.webhook_id, WebhookRow.owner).join(WebhookRow).where(*is_leased).subquery()
    under_way = select(func.count()).select_from(leased).where(leased.c.owner == WebhookRow.owner).scalar_subquery()
    in_order = (DeliveryRow.created_at, DeliveryRow.sequence, DeliveryRow.id)
    turn = func.row_number().over(partition_by=DeliveryRow.webhook_id, order_by=in_order).label("turn")
    waiting = (
        select(DeliveryRow.id, DeliveryRow.next_at, WebhookRow.owner, under_way.label("under_way"), turn)
        .join(WebhookRow)
        .where(*_is_free(now), WebhookRow.disabled_at.is_(None))
        .where(DeliveryRow.webhook_id.not_in(select(leased.c.webhook_id)))
        .subquery()
    )
    rank = func.row_number().over(partition_by=waiting.c.owner, order_by=waiting.c.next_at).label("rank")
    first = select(waiting.c.id, waiting.c.next_at, waiting.c.under_way, rank).where(waiting.c.turn == 1).subquery()
    return select(first.c.id).where(first.c.rank + first.c.under_way <= OWNER_AT_ONCE).order_by(first.c.next_at)


def _find_enabled(session: Session, webhook_id: WebhookId) -> None:
    if find_webhook(session, webhook_id, is_locked=True).disabled_at is not None:
        raise WebhookRefused(
            f"webhook {webhook_id} is disabled: its receiver answered 410, or its key was revoked; to rotate its "
            "secret lifts the first"
        )
