"""What webhooks need of the store, as a Protocol."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from crossfade_core.webhooks import (
    Attempt,
    Delivery,
    DeliveryId,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookId,
)


class WebhookStore(Protocol):
    """Webhooks and their deliveries. All methods raise StoreUnavailable when the database is away.

    A job's event becomes a PENDING delivery for every webhook that is told of it, in the event's own transaction: those
    of its submitter and those of every job, unless disabled, or their owner's key has expired or was revoked.
    """

    def create_webhook(self, new: NewWebhook) -> Webhook:
        """Store a webhook.

        Raises:
            WebhookRefused: Its owner has MAX_WEBHOOKS.
        """

    def list_webhooks(self, owner: str | None = None) -> Sequence[Webhook]:
        """Return the webhooks of one owner, or of all, oldest first."""

    def get_webhook(self, webhook_id: WebhookId) -> Webhook:
        """Return a webhook.

        Raises:
            WebhookNotFound: There is no such webhook.
        """

    def rotate_webhook(self, webhook_id: WebhookId, by: str) -> Webhook:
        """Give a webhook its next secret, and let it be told again if it was disabled; older ones are good for a day.

        Raises:
            WebhookNotFound: There is no such webhook.
        """

    def disable_webhook(self, webhook_id: WebhookId) -> None:
        """Send it nothing more; its PENDING deliveries fail."""

    def delete_webhook(self, webhook_id: WebhookId, by: str) -> None:
        """Forget a webhook and its deliveries.

        Raises:
            WebhookNotFound: There is no such webhook.
        """

    def test_webhook(self, webhook_id: WebhookId) -> Delivery:
        """Make a delivery of type `webhook.test`.

        Raises:
            WebhookNotFound: There is no such webhook.
            WebhookRefused: It is disabled.
        """

    def replay_delivery(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Make a new delivery with the content of an earlier one.

        Raises:
            WebhookNotFound: There is no such webhook, or no such delivery of it.
            WebhookRefused: It is disabled.
        """

    def list_deliveries(
        self,
        webhook_id: WebhookId,
        state: DeliveryState | None = None,
        *,
        limit: int = 50,
        before: DeliveryId | None = None,
    ) -> Sequence[Delivery]:
        """Return the deliveries of a webhook, newest first, older than `before`.

        Raises:
            WebhookNotFound: There is no such webhook.
        """

    def claim_deliveries(self, limit: int, lease_seconds: float) -> Sequence[tuple[Webhook, Delivery]]:
        """Take PENDING deliveries that are due, longest due first; nobody else gets them meanwhile.

        Of a webhook one at a time, the first by its events; of an owner's webhooks OWNER_AT_ONCE at a time, whoever
        claimed them; of a disabled webhook none.

        Args:
            limit: At most so many.
            lease_seconds: How long they are the caller's; one that is not settled by then can be taken again.
        """

    def settle_delivery(self, delivery: Delivery, attempt: Attempt, next_at: datetime | None) -> None:
        """Add an attempt to a delivery that was claimed.

        It is DELIVERED after a success; else PENDING until `next_at`, or FAILED where that is None. Does nothing when
        somebody else has settled it meanwhile.
        """

    def forget_deliveries(self) -> None:
        """Forget the deliveries of more than 30 days ago that are not PENDING."""
