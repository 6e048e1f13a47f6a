"""The tables of webhooks and of what is sent to them, and how a row becomes the record that the core knows."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from crossfade_core.job import JobId
from crossfade_core.webhooks import Attempt, Delivery, DeliveryId, DeliveryState, EventType, Webhook, WebhookId
from crossfade_stores.table_base import ID_LENGTH, Base


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
