"""Send webhooks: take what is due from the store, send it, note what came of it. What is due is the store's to say.

One message at a time goes to a webhook, and a few to all of one owner's, so that slow receivers hold up nobody but
their owner; messages arrive in the order of their events unless one is sent again.
"""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, Protocol

import structlog

from crossfade_core.errors import StoreUnavailable, WebhookRefused, WebhookUnreachable
from crossfade_core.ports import Clock
from crossfade_core.webhook_store import WebhookStore
from crossfade_core.webhooks import Attempt, Delivery, Webhook, retry_at, signed_headers

AT_ONCE: Final = 16
TIMEOUT_SECONDS: Final = 15.0
"""What Standard Webhooks recommends a sender to wait, at least."""
LEASE_SECONDS: Final = 60.0
"""Longer than an exchange: what becomes due again is of a sender that died, or whose look-up took that long."""
PAUSE_SECONDS: Final = 1.0
_GONE: Final = 410

log = structlog.get_logger()


class Post(Protocol):
    """Sends one message; `crossfade_webhooks.post.post` with the operator's networks."""

    def __call__(self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_seconds: float) -> int:
        """Return the HTTP status of the answer.

        Raises:
            WebhookRefused: That URL may not be sent to.
            WebhookUnreachable: There was no answer.
        """


class Deliver:
    """Sends what is due until it is told to stop.

    Args:
        store: What is due.
        post: The way out.
        clock: The time.
        server_key: What the webhooks' secrets are derived from.
    """

    def __init__(self, store: WebhookStore, post: Post, clock: Clock, server_key: bytes) -> None:
        self._store, self._post, self._clock, self._server_key = store, post, clock, server_key

    def run(self, stopping: threading.Event) -> None:
        """Send until `stopping` is set; what is on its way by then is waited for, a few seconds at most."""
        under_way: set[Future[None]] = set()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook") as pool:
            while not stopping.is_set():
                under_way |= {pool.submit(self.send, *claimed) for claimed in self._claim(AT_ONCE - len(under_way))}
                if not under_way:
                    stopping.wait(PAUSE_SECONDS)
                under_way -= wait(under_way, PAUSE_SECONDS, FIRST_COMPLETED).done

    def _claim(self, limit: int) -> Sequence[tuple[Webhook, Delivery]]:
        try:
            return self._store.claim_deliveries(limit, LEASE_SECONDS) if limit else ()
        except StoreUnavailable as error:
            log.warning("webhooks.waiting", reason=error.message)
            return ()

    def send(self, webhook: Webhook, delivery: Delivery) -> None:
        """Make one attempt and note it; never raises for what the receiver or the store does."""
        bound = log.bind(webhook=webhook.id, delivery=delivery.id)
        try:
            attempt = self._attempt(webhook, delivery)
        except Exception:  # the boundary of this thread: a fault of ours is an attempt that failed
            bound.exception("webhook.crashed")
            attempt = Attempt(self._clock.now(), 0.0, error="an error of the service; its log has more")
        bound.info("webhook.attempted", **attempt.as_record())
        failures = len(delivery.attempts) + 1
        next_at = None if attempt.status == _GONE else retry_at(failures, self._clock.now(), random.random())
        try:
            self._store.settle_delivery(delivery, attempt, next_at)
            if attempt.status == _GONE:
                self._store.disable_webhook(webhook.id)
        except StoreUnavailable as error:  # the lease ends, and it is sent again
            bound.warning("webhook.unsettled", reason=error.message)

    def _attempt(self, webhook: Webhook, delivery: Delivery) -> Attempt:
        now = self._clock.now()
        begun = time.monotonic()
        headers = signed_headers(delivery.id, delivery.body, webhook.secrets(self._server_key, now), now)
        status, error = None, None
        try:
            status = self._post(webhook.url, headers, delivery.body, timeout_seconds=TIMEOUT_SECONDS)
        except (WebhookRefused, WebhookUnreachable) as refusal:
            error = refusal.message
        return Attempt(now, round(time.monotonic() - begun, 3), status, error)
