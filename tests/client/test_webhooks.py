"""A webhook's message is taken if it was signed with its secret a short while ago, and else not."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from crossfade_client import SecretMalformed, WebhookUnverified, verify
from crossfade_core.errors import CrossfadeError
from crossfade_core.webhooks import WebhookId, signed_headers, webhook_secret
from tests.client.webhook_sender import BODY, MESSAGE_ID, SECRET, body_of, signed, signed_by_hand

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def test_what_the_reference_library_signs_is_verified():
    message = verify(SECRET, signed(BODY, NOW), BODY, now=NOW)
    assert message.as_json() == {"id": MESSAGE_ID, **json.loads(BODY), "timestamp": "2026-11-22T02:59:58.123456+00:00"}
    assert (message.job_id, message.is_ending, message.type) == ("job-1", True, "job.succeeded")


@pytest.mark.parametrize("generation", [1, 2])
def test_what_the_service_signs_is_verified_by_the_secret_before_too_while_they_change(generation):
    webhook_id = WebhookId("webhook-1")
    secrets = [webhook_secret(b"the service's own", webhook_id, number) for number in (2, 1)]
    headers = signed_headers("delivery-1", BODY, secrets, NOW)
    mine = webhook_secret(b"the service's own", webhook_id, generation)
    assert verify(mine, headers, BODY, now=NOW).job_id == "job-1"


def test_what_the_reference_library_refuses_and_takes_is_refused_and_taken_here():
    """Against the clock itself, which that library reads."""
    now = datetime.now(UTC)
    for seconds, body in ((0, BODY), (-299, BODY), (299, BODY), (-301, BODY), (301, BODY), (0, BODY + b" ")):
        headers = signed(BODY, now + timedelta(seconds=seconds))
        try:
            Webhook(SECRET).verify(body, headers)
            theirs = True
        except Exception:
            theirs = False
        try:
            verify(SECRET, headers, body)
            ours = True
        except WebhookUnverified:
            ours = False
        assert (seconds, ours) == (seconds, theirs)


def test_header_names_are_read_in_any_case():
    headers = {name.title(): value for name, value in signed(BODY, NOW).items()}
    assert verify(SECRET, headers, BODY, now=NOW).id == MESSAGE_ID


def test_one_right_signature_among_others_is_enough():
    headers = signed(BODY, NOW)
    others = "v1,bm90IGl0 v1a,bm90IGl0 nonsense  "
    assert verify(SECRET, headers | {"webhook-signature": f"{others} {headers['webhook-signature']}"}, BODY, now=NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_message_without_one_of_the_headers_is_refused_by_its_name(name):
    headers = signed(BODY, NOW)
    del headers[name]
    with pytest.raises(WebhookUnverified, match=name):
        verify(SECRET, headers, BODY, now=NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "another"},
        {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook-signature": "v1,bm90IGl0"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,é"},
    ],
)
def test_nothing_that_is_signed_can_be_changed(changed):
    with pytest.raises(WebhookUnverified, match="by this secret"):
        verify(SECRET, signed(BODY, NOW) | changed, BODY, now=NOW)


@given(position=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_no_bit_of_the_body_can_be_changed(position, bit):
    changed = bytearray(BODY)
    changed[position] ^= 1 << bit
    with pytest.raises(WebhookUnverified, match="by this secret"):
        verify(SECRET, signed(BODY, NOW), bytes(changed), now=NOW)


def test_another_webhooks_secret_verifies_nothing():
    other = "whsec_" + base64.b64encode(b"another key of 32 bytes in length").decode()
    with pytest.raises(WebhookUnverified):
        verify(other, signed(BODY, NOW), BODY, now=NOW)


@pytest.mark.parametrize(("seconds", "when"), [(-301, "301 s behind"), (301, "301 s ahead of")])
def test_an_old_message_is_refused_and_one_from_the_future(seconds, when):
    with pytest.raises(WebhookUnverified, match=when):
        verify(SECRET, signed(BODY, NOW + timedelta(seconds=seconds)), BODY, now=NOW)


@pytest.mark.parametrize("sent_at", ["", "soon", "1e9", "-5", "9" * 40, "²"])
def test_a_time_that_is_none_is_refused_though_it_is_signed(sent_at):
    with pytest.raises(WebhookUnverified, match="no number of unix seconds"):
        verify(SECRET, signed_by_hand(BODY, sent_at), BODY, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"nonsense", b"[]", b'{"type": "x"}', b"\xff", b"[" * 100_000),
        body_of(data=[1]),
        body_of(timestamp="yesterday"),
        body_of(type=3),
    ],
)
def test_what_is_signed_and_no_message_is_refused(body):
    with pytest.raises(WebhookUnverified, match="is signed, and no"):
        verify(SECRET, signed_by_hand(body, str(int(NOW.timestamp()))), body, now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "c2VjcmV0", "whsec_no base64", "whsec_é", "whsec_c2VjcmV0X"])
def test_a_secret_of_another_form_is_refused_without_showing_it(secret):
    with pytest.raises(SecretMalformed) as caught:
        verify(secret, signed(BODY, NOW), BODY, now=NOW)
    assert issubclass(SecretMalformed, CrossfadeError)
    assert caught.value.message.count(secret or "nothing") == (1 if secret == "whsec_" else 0)


def test_a_test_message_is_of_no_job():
    body = body_of(type="webhook.test", data={})
    message = verify(SECRET, signed(body, NOW), body, now=NOW)
    assert (message.job_id, message.is_ending) == (None, False)
