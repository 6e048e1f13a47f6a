"""What the API knows of webhooks beyond the store: which URLs they may have, and the secret that an owner gets."""

from crossfade_core.errors import WebhookRefused
from crossfade_core.webhooks import Webhook, webhook_secret
from crossfade_webhooks.addresses import check_url
from crossfade_webhooks.settings import WebhookSettings


class WebhookSecrets:
    """Derives secrets from the service's key.

    Args:
        settings: The operator's.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def check_url(self, url: str) -> None:
        """Let a webhook have this URL; what its name means is looked at when it is sent to.

        Raises:
            WebhookRefused: It may not, or no webhooks are sent.
        """
        self._key()
        check_url(url, self._settings.webhook_networks)

    def secret_of(self, webhook: Webhook) -> str:
        """Return a webhook's newest secret.

        Raises:
            WebhookRefused: No webhooks are sent.
        """
        return webhook_secret(self._key(), webhook.id, webhook.generation)

    def _key(self) -> bytes:
        if self._settings.webhook_key is None:
            raise WebhookRefused(
                "this service sends no webhooks; its operator can set CROSSFADE_WEBHOOK_KEY, until then follow a "
                "job by its events"
            )
        return self._settings.webhook_key.get_secret_value().encode()
