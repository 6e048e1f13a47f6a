"""Webhooks: who is told of what, how a message is written and signed, when it is sent again. Never sends.

Source of the form: Standard Webhooks, https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NewType

from crossfade_core.job import ENDINGS, JobId

WebhookId = NewType("WebhookId", str)
DeliveryId = NewType("DeliveryId", str)

RETRY_SECONDS: Final = (5, 30, 120, 300, 900, 1800, 3600, 7200, 10800, 14400, 21600, 25200)
"""How long to wait after each failed attempt; together a day. After the last one the delivery has failed."""
ROTATION: Final = timedelta(hours=24)
"""How long messages carry the signature of the secret before as well."""
MAX_WEBHOOKS: Final = 20
"""Of one owner: each event of a job is a message to every one of them."""
OWNER_AT_ONCE: Final = 4
"""How many messages to one owner's webhooks may be on their way: an owner of silent ones must not take all senders."""
MAX_URL_CHARACTERS: Final = 2048
URL_PATTERN: Final = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::0*(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])?)?"
    r"(?:[/?][\x21\x22\x24-\x7e]*)?$"
)
"""The form of a webhook's URL, for JSON Schema too: no user, no fragment. Whether its host may be reached is another
question."""
KEPT: Final = timedelta(days=30)
"""How long the log of deliveries goes back."""


class EventType(StrEnum):
    """What a webhook can be told of; the events of a job's log but those of its units and phases."""

    JOB_QUEUED = "job.queued"
    JOB_RUNNING = "job.running"
    JOB_RETRIED = "job.retried"
    JOB_CANCELLING = "job.cancelling"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_PARTIALLY_SUCCEEDED = "job.partially_succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    OUTPUT_STAGED = "output.staged"
    OUTPUT_APPROVED = "output.approved"
    OUTPUT_REJECTED = "output.rejected"
    OUTPUT_PUBLISHED = "output.published"
    OUTPUT_DELAYED = "output.delayed"
    OUTPUT_FAILED = "output.failed"


DEFAULT_EVENTS: Final = frozenset(EventType(name) for name in ENDINGS)
"""What a webhook is told of unless it asks for other events."""
TEST_EVENT: Final = "webhook.test"


class DeliveryState(StrEnum):
    """Where one message to one webhook stands; a replay makes a new delivery."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Webhook:
    """Where messages go. Times are UTC.

    Attributes:
        id: Its id.
        owner: Name of the caller whose it is.
        url: Where messages are POSTed.
        events: What it is told of.
        every_job: Of everybody's jobs instead of its owner's.
        created_at: When it was made.
        generation: Which secret is its newest, from 1 on.
        kept_generation: Which secret was good when the rotations under way began: who has it missed those between.
        rotated_at: When the newest secret took the place of the one before; None for the first.
        disabled_at: Since when nothing is sent any more: its receiver answered 410 Gone.
    """

    id: WebhookId
    owner: str
    url: str
    events: frozenset[EventType]
    every_job: bool
    created_at: datetime
    generation: int = 1
    kept_generation: int = 1
    rotated_at: datetime | None = None
    disabled_at: datetime | None = None

    def is_rotating(self, now: datetime) -> bool:
        """Tell whether older secrets are still good."""
        return self.rotated_at is not None and now < self.rotated_at + ROTATION

    def secrets(self, server_key: bytes, now: datetime) -> list[str]:
        """Return the secrets that a message of `now` is signed with, the newest first."""
        kept = {self.generation - 1, self.kept_generation} if self.is_rotating(now) else set()
        generations = sorted({self.generation, *kept}, reverse=True)
        return [webhook_secret(server_key, self.id, generation) for generation in generations]


@dataclass(frozen=True)
class NewWebhook:
    """A webhook as it is asked for."""

    owner: str
    url: str
    events: frozenset[EventType] = DEFAULT_EVENTS
    every_job: bool = False


@dataclass(frozen=True)
class Attempt:
    """One attempt to deliver: the receiver's HTTP status, or why there is none; how long it took."""

    at: datetime
    seconds: float
    status: int | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the receiver has taken it: any 2xx; a redirect is none."""
        return self.status is not None and 200 <= self.status < 300

    def as_record(self) -> dict[str, Any]:
        """Return the attempt as JSON."""
        return {"at": self.at.isoformat(), "seconds": self.seconds, "status": self.status, "error": self.error}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Attempt":
        """Read back what `as_record` wrote."""
        return cls(**{**record, "at": datetime.fromisoformat(record["at"])})


@dataclass(frozen=True)
class Delivery:
    """One message to one webhook, and what became of it.

    Attributes:
        id: Its id; what the header `webhook-id` says at every attempt.
        webhook_id: Whom it goes to.
        type: The event's type.
        data: What the message says.
        state: Where it stands.
        created_at: When the event happened.
        next_at: When it is due, while PENDING.
        job_id: The job whose event it is; None of a test.
        sequence: The event's number in the job's log.
        replay_of: The delivery that this one repeats.
        attempts: What was tried, oldest first.
    """

    id: DeliveryId
    webhook_id: WebhookId
    type: str
    data: dict[str, Any]
    state: DeliveryState
    created_at: datetime
    next_at: datetime | None
    job_id: JobId | None = None
    sequence: int | None = None
    replay_of: DeliveryId | None = None
    attempts: tuple[Attempt, ...] = field(default=())

    @property
    def body(self) -> bytes:
        """The message: the same bytes at every attempt."""
        message = {"type": self.type, "timestamp": self.created_at.astimezone(UTC).isoformat(), "data": self.data}
        # ASCII escapes carry even the lone surrogates of a hostile file name; UTF-8 cannot.
        return json.dumps(message, separators=(",", ":")).encode()


def retry_at(failures: int, now: datetime, jitter: float) -> datetime | None:
    """Return when to try again after so many failures, None for not at all.

    Args:
        failures: How often it has failed; at least 1.
        now: The time of the last failure.
        jitter: Between 0 and 1: how much of a tenth is added, so that many messages do not come back at once.
    """
    if failures > len(RETRY_SECONDS):
        return None
    return now + timedelta(seconds=RETRY_SECONDS[failures - 1] * (1 + jitter / 10))


def webhook_secret(server_key: bytes, webhook_id: WebhookId, generation: int) -> str:
    """Return a webhook's secret, `whsec_<base64>`: derived, so that none is kept anywhere.

    Args:
        server_key: The service's own secret.
        webhook_id: The webhook.
        generation: Which of its secrets.
    """
    purpose = f"crossfade webhook {webhook_id} {generation}".encode()
    return "whsec_" + base64.b64encode(hmac.digest(server_key, purpose, hashlib.sha256)).decode()


def signed_headers(message_id: str, body: bytes, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the headers that a receiver checks: id, time of this attempt in unix seconds, one signature a secret."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = [hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, "sha256") for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join("v1," + base64.b64encode(signature).decode() for signature in signatures),
    }
