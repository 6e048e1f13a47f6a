"""Webhook messages: signed as the specification's own reference verifies them, sent again for a day."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from crossfade_core.webhooks import (
    RETRY_SECONDS,
    ROTATION,
    Delivery,
    DeliveryId,
    DeliveryState,
    EventType,
    Webhook,
    WebhookId,
    retry_at,
    signed_headers,
    webhook_secret,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = b"k" * 32
HOOK = WebhookId("hook-1")


def a_webhook(**fields):
    return Webhook(HOOK, "alice", "https://a.example", frozenset(EventType), every_job=False, created_at=NOW, **fields)


def test_signature_is_that_of_the_specification():
    # The example of the specification's own libraries: id, timestamp, payload, secret, signature.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [secret], at)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_each_webhook_and_generation_has_a_secret_of_its_own():
    secrets = {webhook_secret(key, hook, n) for key in (KEY, b"x" * 32) for hook in ("a", "b") for n in (1, 2)}
    assert len(secrets) == 8
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in secrets)


def test_message_is_signed_with_both_secrets_for_a_day_after_rotation():
    rotated = a_webhook(generation=2, rotated_at=NOW)
    old, new = (webhook_secret(KEY, HOOK, n) for n in (1, 2))
    assert rotated.secrets(KEY, NOW) == [new, old]
    assert rotated.secrets(KEY, NOW + ROTATION) == [new]
    assert a_webhook().secrets(KEY, NOW) == [old]
    headers = signed_headers("msg-1", b"{}", [new, old], NOW)
    for secret, signature in zip((new, old), headers["webhook-signature"].split(" "), strict=True):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = hmac.new(key, f"msg-1.{int(NOW.timestamp())}.{{}}".encode(), hashlib.sha256).digest()
        assert signature == "v1," + base64.b64encode(expected).decode()


def test_secret_that_was_good_before_several_rotations_is_good_for_a_day():
    rotated = a_webhook(generation=7, kept_generation=4, rotated_at=NOW)
    assert rotated.secrets(KEY, NOW) == [webhook_secret(KEY, HOOK, n) for n in (7, 6, 4)]
    assert rotated.secrets(KEY, NOW + ROTATION) == [webhook_secret(KEY, HOOK, 7)]


def test_body_holds_even_what_utf8_cannot():
    data = {"error": {"details": {"file": "\ud800.safetensors"}}}
    delivery = Delivery(DeliveryId("msg-1"), HOOK, "job.failed", data, DeliveryState.PENDING, NOW, NOW)
    assert json.loads(delivery.body)["data"] == data


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_attempts_go_on_for_a_day_and_then_end(jitter):
    at, failures = NOW, 1
    waits = []
    while (following := retry_at(failures, at, jitter)) is not None:
        waits.append((following - at).total_seconds())
        at, failures = following, failures + 1
    assert waits == sorted(waits)
    assert len(waits) == len(RETRY_SECONDS)
    assert timedelta(hours=23) < at - NOW < timedelta(hours=27)


def test_body_is_the_same_at_every_attempt_and_says_what_happened():
    data = {"job_id": "job-1", "labels": {"team": "größer"}}
    delivery = Delivery(DeliveryId("msg-1"), HOOK, "job.succeeded", data, DeliveryState.PENDING, NOW, NOW)
    assert delivery.body == delivery.body
    assert json.loads(delivery.body) == {
        "type": "job.succeeded",
        "timestamp": "2026-11-22T12:00:00+00:00",
        "data": data,
    }
