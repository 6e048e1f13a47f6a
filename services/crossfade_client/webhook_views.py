"""Webhooks, and what was delivered to them, as the service answers them."""

from datetime import datetime
from typing import Any

from pydantic import Field

from crossfade_client.answer import View


class WebhookView(View):
    """One webhook, without its secret."""

    id: str
    owner: str
    url: str
    events: tuple[str, ...]
    every_job: bool
    created_at: datetime
    rotated_at: datetime | None = None
    disabled_at: datetime | None = None


class NewWebhookView(WebhookView):
    """A webhook just made or rotated: the answers that hold its secret, which `repr` leaves out."""

    secret: str = Field(repr=False)


class WebhookList(View):
    """Webhooks, oldest first."""

    items: tuple[WebhookView, ...]


class AttemptView(View):
    """One attempt to deliver a message: the receiver's status, or why there was no answer."""

    at: datetime
    seconds: float
    status: int | None = None
    error: str | None = None


class DeliveryView(View):
    """One message to one webhook."""

    id: str
    type: str
    state: str
    created_at: datetime
    next_at: datetime | None = None
    job_id: str | None = None
    sequence: int | None = None
    replay_of: str | None = None
    data: dict[str, Any]
    attempts: tuple[AttemptView, ...] = ()


class DeliveryPage(View):
    """Some deliveries, newest first; `next` is what to give as `page` for more."""

    items: tuple[DeliveryView, ...]
    next: str | None = None
