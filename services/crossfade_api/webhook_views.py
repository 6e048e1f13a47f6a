"""The JSON shapes of webhooks. Never asks the store."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from crossfade_api.views import View
from crossfade_core.job import JobId
from crossfade_core.json_types import Flag, repeatable
from crossfade_core.webhooks import (
    DEFAULT_EVENTS,
    MAX_URL_CHARACTERS,
    URL_PATTERN,
    Delivery,
    DeliveryState,
    EventType,
    Webhook,
)


class WebhookRequest(BaseModel):
    """A webhook to be made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        min_length=1,
        max_length=MAX_URL_CHARACTERS,
        json_schema_extra={"pattern": URL_PATTERN},
        description="Where messages are POSTed; https, at public addresses.",
        examples=["https://ci.example.org/hooks/crossfade"],
    )
    events: Annotated[frozenset[EventType], Field(min_length=1, json_schema_extra=repeatable)] = Field(
        default=DEFAULT_EVENTS, description="What to be told of; without it, of every way in which a job ends."
    )
    every_job: Flag = Field(
        default=False, description="Of everybody's jobs, not of the caller's alone; for administrators."
    )


class WebhookView(View):
    """One webhook, without its secret."""

    id: str
    owner: str = Field(description="The name of the key that made it.")
    url: str
    events: list[EventType]
    every_job: bool
    created_at: datetime
    rotated_at: datetime | None = Field(description="Until a day later, messages are signed with the old secret too.")
    disabled_at: datetime | None = Field(
        description="Since then nothing is sent: its receiver answered 410 (`rotate` ends that), or its key is revoked."
    )

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookView":
        """Show one webhook."""
        return cls(
            id=webhook.id,
            owner=webhook.owner,
            url=webhook.url,
            events=sorted(webhook.events),
            every_job=webhook.every_job,
            created_at=webhook.created_at,
            rotated_at=webhook.rotated_at,
            disabled_at=webhook.disabled_at,
        )


class NewWebhookView(WebhookView):
    """A webhook with the secret that its messages are signed with."""

    secret: str = Field(description="`whsec_…`; shown here and when it is rotated, at no other time.")


class WebhookListView(View):
    """All webhooks of the caller, oldest first; an administrator sees everybody's."""

    items: list[WebhookView]


class AttemptView(View):
    """One attempt to deliver a message."""

    at: datetime
    seconds: float = Field(description="How long it took.")
    status: int | None = Field(description="What the receiver answered; 2xx takes the message.")
    error: str | None = Field(description="Why there was no answer.")


class DeliveryView(View):
    """One message to one webhook."""

    id: str = Field(description="The header `webhook-id` at every attempt.")
    type: str = Field(examples=["job.succeeded"])
    state: DeliveryState
    created_at: datetime
    next_at: datetime | None = Field(description="When it is sent, or sent again.")
    job_id: JobId | None
    sequence: int | None = Field(description="The number of its event in the job's log.")
    replay_of: str | None
    data: dict[str, Any] = Field(description="What the message says.")
    attempts: list[AttemptView]

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryView":
        """Show one delivery."""
        return cls(
            id=delivery.id,
            type=delivery.type,
            state=delivery.state,
            created_at=delivery.created_at,
            next_at=delivery.next_at,
            job_id=delivery.job_id,
            sequence=delivery.sequence,
            replay_of=delivery.replay_of,
            data=delivery.data,
            attempts=[
                AttemptView(at=attempt.at, seconds=attempt.seconds, status=attempt.status, error=attempt.error)
                for attempt in delivery.attempts
            ],
        )


class DeliveryListView(View):
    """One page of a webhook's deliveries, newest first."""

    items: list[DeliveryView]
    next: str | None = Field(description="Give it as `page` for the next page; null on the last.")
