"""Rows of webhooks: a delivery of a job's event, in the event's own transaction: none is lost, none is of nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from crossfade_core.errors import WebhookNotFound
from crossfade_core.job import JobId
from crossfade_core.webhooks import DeliveryId, DeliveryState, EventType, WebhookId
from crossfade_stores.access_tables import KeyRow
from crossfade_stores.ids import new_id
from crossfade_stores.job_tables import JobRow
from crossfade_stores.webhook_tables import DeliveryRow, WebhookRow

_TYPES: Final = frozenset(EventType)


def tell_webhooks(session: Session, job: JobRow, type: str, data: Mapping[str, Any], now: datetime) -> None:
    """Make a delivery of a locked job's newest event for every webhook that is told of it."""
    if type not in _TYPES:
        return
    told = {
        "job_id": job.id,
        "sequence": job.last_sequence,
        "labels": job.spec.get("labels", {}),
        **data,
        "links": {"self": f"/v1/merges/{job.id}"},
    }
    is_meant = or_(WebhookRow.owner == job.submitted_by, WebhookRow.every_job)
    is_active = and_(KeyRow.revoked_at.is_(None), or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now))
    meant = (
        select(WebhookRow.id, WebhookRow.events)
        .outerjoin(KeyRow, KeyRow.name == WebhookRow.owner)  # none of the operator's, or of who needs no key
        .where(WebhookRow.disabled_at.is_(None), is_meant, or_(KeyRow.id.is_(None), is_active))
        # One that is deleted meanwhile would take this whole transaction with it.
        .with_for_update(read=True, key_share=True, of=WebhookRow)
    )
    with session.no_autoflush:  # what is new in this transaction changes no webhook, and goes out at once later
        webhooks = session.execute(meant).all()
    for webhook_id, events in webhooks:
        if type in events:
            session.add(new_delivery(webhook_id, type, told, now, event=(job.id, job.last_sequence)))


def new_delivery(
    webhook_id: WebhookId,
    type: str,
    data: Mapping[str, Any],
    now: datetime,
    *,
    event: tuple[JobId | None, int | None] = (None, None),
    replay_of: DeliveryId | None = None,
) -> DeliveryRow:
    """Return the row of a delivery that is due at once.

    Args:
        webhook_id: Whom it goes to.
        type: The event's type.
        data: What it says.
        now: The time.
        event: The job and the number of its event, where it tells of one.
        replay_of: The delivery that it repeats.
    """
    job_id, sequence = event
    return DeliveryRow(
        id=DeliveryId(new_id("msg", now)),
        webhook_id=webhook_id,
        type=type,
        data=dict(data),
        state=DeliveryState.PENDING,
        created_at=now,
        next_at=now,
        job_id=job_id,
        sequence=sequence,
        replay_of=replay_of,
        attempts=[],
    )


def find_webhook(session: Session, webhook_id: WebhookId, *, is_locked: bool = False) -> WebhookRow:
    """Return a webhook's row, locked until the transaction ends if asked for.

    Raises:
        WebhookNotFound: There is no such webhook.
    """
    row = session.get(WebhookRow, webhook_id, with_for_update=is_locked)
    if row is None:
        raise WebhookNotFound(f"there is no webhook {webhook_id}; GET /v1/webhooks lists those there are")
    return row
