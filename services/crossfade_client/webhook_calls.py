"""The calls about webhooks, `Client.webhooks`. Errors as for every call of the client: Reported, ServiceUnreachable."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from crossfade_client.connection import Connection, Request
from crossfade_client.webhook_views import DeliveryPage, DeliveryView, NewWebhookView, WebhookList

_PAGE: Final = 50


class WebhookCalls:
    """Make, list, rotate, test and delete webhooks; read and repeat what was delivered.

    Args:
        connection: The client's.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, url: str, *, events: Sequence[str] | None = None, every_job: bool = False) -> NewWebhookView:
        """Make a webhook; its secret is in the answer, and never again.

        Args:
            url: Where messages are to be POSTed.
            events: Of what; of every way in which a job ends unless given.
            every_job: Of everybody's jobs; for administrators.

        Raises:
            Reported: The service does not send there, or the caller may not ask for that.
            ServiceUnreachable: No service answers.
        """
        asked: dict[str, object] = {"url": url, "every_job": every_job}
        if events is not None:
            asked["events"] = list(events)
        return self._connection.call(Request("POST", "/v1/webhooks", body=asked), NewWebhookView)

    def list(self) -> WebhookList:
        """Return the caller's webhooks, oldest first; an administrator gets everybody's.

        Raises:
            Reported: The caller may not read.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("GET", "/v1/webhooks"), WebhookList)

    def rotate(self, webhook_id: str) -> NewWebhookView:
        """Give a webhook a new secret; for a day messages are signed with both.

        Raises:
            Reported: There is no such webhook.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("POST", f"{_path(webhook_id)}/rotate"), NewWebhookView)

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook and the log of its deliveries.

        Raises:
            Reported: There is no such webhook.
            ServiceUnreachable: No service answers.
        """
        self._connection.ask_once(Request("DELETE", _path(webhook_id)))

    def test(self, webhook_id: str) -> DeliveryView:
        """Have a message of type `webhook.test` sent.

        Raises:
            Reported: There is no such webhook.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("POST", f"{_path(webhook_id)}/test"), DeliveryView)

    def deliveries(
        self, webhook_id: str, *, state: str | None = None, limit: int = _PAGE, page: str | None = None
    ) -> DeliveryPage:
        """Return one page of what was delivered, newest first.

        Args:
            webhook_id: To which webhook.
            state: Only deliveries that are PENDING, DELIVERED or FAILED.
            limit: At most so many.
            page: `next` of the page before.

        Raises:
            Reported: There is no such webhook, or an argument is refused.
            ServiceUnreachable: No service answers.
        """
        asked = {"state": state, "limit": limit, "page": page}
        params = {name: value for name, value in asked.items() if value is not None}
        return self._connection.call(Request("GET", f"{_path(webhook_id)}/deliveries", params=params), DeliveryPage)

    def replay(self, webhook_id: str, delivery_id: str) -> DeliveryView:
        """Have a message delivered again, as a new one.

        Raises:
            Reported: There is no such webhook, or no such delivery of it.
            ServiceUnreachable: No service answers.
        """
        path = f"{_path(webhook_id)}/deliveries/{quote(delivery_id, safe='')}/replay"
        return self._connection.call(Request("POST", path), DeliveryView)


def _path(webhook_id: str) -> str:
    return f"/v1/webhooks/{quote(webhook_id, safe='')}"
