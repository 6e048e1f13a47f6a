"""Check that a webhook's message comes from the service. Receives nothing; see `crossfade_client.webhook_receiver`.

Source of the form: Standard Webhooks, https://www.standardwebhooks.com ; any library for it reads our messages too.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from crossfade_core.errors import SecretMalformed, WebhookUnverified
from crossfade_core.job import ENDINGS

TOLERANCE: Final = timedelta(minutes=5)
"""How far the sender's clock, at the attempt to deliver, may be from ours: an older message may be a replay."""
_PREFIX: Final = "whsec_"


@dataclass(frozen=True)
class WebhookMessage:
    """One message of which the signature was right.

    Attributes:
        id: The same at every attempt to deliver it; who has seen it may drop it.
        timestamp: When it happened.
        type: What happened, such as `job.succeeded`.
        data: What the service tells of it.
    """

    id: str
    timestamp: datetime
    type: str
    data: Mapping[str, Any]

    @property
    def job_id(self) -> str | None:
        """The job it is about; None of a test message."""
        found = self.data.get("job_id")
        return found if isinstance(found, str) else None

    @property
    def is_ending(self) -> bool:
        """Whether it tells that a job has ended."""
        return self.type in ENDINGS

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"id": self.id, "timestamp": self.timestamp.isoformat(), "type": self.type, "data": dict(self.data)}


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None) -> WebhookMessage:
    """Return the message of a request to a webhook once its signature has been checked.

    Args:
        secret: The webhook's, `whsec_<base64>`.
        headers: The request's, under names in any case.
        body: The request's body, byte for byte.
        now: The time to judge its age by; the clock's when not given.

    Raises:
        WebhookUnverified: A header is missing, no signature is by this secret, it was sent more than five minutes ago
            or ahead, or it is no message.
        SecretMalformed: The secret is not of its form.
    """
    key = read_secret(secret)
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise WebhookUnverified(f"the request has no header {error}, which every message has") from error
    signed = b".".join((message_id.encode(), sent_at.encode(), body))
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    # Each is compared, and in constant time: how long it takes tells nothing of the right one.
    matches = [hmac.compare_digest(expected, signature.encode()) for signature in signatures.split(" ")]
    if not any(matches):
        raise WebhookUnverified(
            f"none of {len(matches)} signatures of message {message_id!r} is by this secret; is it the webhook's?"
        )
    _check_age(sent_at, now or datetime.now(UTC))
    return _message(message_id, body)


def read_secret(secret: str) -> bytes:
    """Return the key that a webhook's secret holds.

    Raises:
        SecretMalformed: It is not `whsec_` and base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else b""
    except (binascii.Error, ValueError):  # non-ASCII is a ValueError
        key = b""
    if not key:  # and no `from`, nor the text: it may be nearly right
        raise SecretMalformed(
            f"a webhook's secret is {_PREFIX} and base64; the one given ({len(secret)} characters) is not"
        )
    return key


def _check_age(sent_at: str, now: datetime) -> None:
    if not (sent_at.isascii() and sent_at.isdecimal() and len(sent_at) < 12):
        raise WebhookUnverified(f"webhook-timestamp {sent_at[:40]!r} is no number of unix seconds")
    ahead = datetime.fromtimestamp(int(sent_at), UTC) - now
    if abs(ahead) > TOLERANCE:
        seconds = ahead.total_seconds()
        when = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"
        raise WebhookUnverified(
            f"the message was sent {when} this clock; {TOLERANCE.seconds} s are allowed: is it right?"
        )


def _message(message_id: str, body: bytes) -> WebhookMessage:
    try:
        match json.loads(body):
            case {"type": str(kind), "timestamp": str(happened_at), "data": dict(data)}:
                return WebhookMessage(message_id, datetime.fromisoformat(happened_at), kind, data)
    except (ValueError, RecursionError) as error:
        raise WebhookUnverified(f"message {message_id!r} is signed, and no JSON of ours: {error}") from error
    raise WebhookUnverified(f"message {message_id!r} is signed, and not of the form {{type, timestamp, data}}")
