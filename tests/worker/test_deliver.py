"""Delivering webhooks over a real store and real HTTP: signed, sent again, given up, in order."""

import base64
import functools
import hashlib
import hmac
import ipaddress
import json
import threading

import pytest

from crossfade_core.errors import StoreUnavailable
from crossfade_core.webhooks import (
    RETRY_SECONDS,
    DeliveryState,
    EventType,
    NewWebhook,
    webhook_secret,
)
from crossfade_webhooks.post import post
from crossfade_worker.deliver import Deliver
from tests.fakes.webhook_receiver import WebhookReceiver

KEY = b"server-key-of-32-characters-or-so"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def receiver():
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def deliver(deployment):
    return Deliver(deployment.webhooks, functools.partial(post, allowed=LOOPBACK), deployment.clock, KEY)


def send_due(deployment, deliver):
    for webhook, delivery in deployment.webhooks.claim_deliveries(10, 60):
        deliver.send(webhook, delivery)


def make(deployment, url, **fields):
    return deployment.webhooks.create_webhook(NewWebhook("alice", url, **fields))


def newest(deployment, hook):
    return deployment.webhooks.list_deliveries(hook.id)[0]


def test_message_is_signed_with_the_secret_that_its_owner_was_given(deployment, deliver, receiver):
    hook = make(deployment, receiver.url)
    deployment.webhooks.test_webhook(hook.id)
    send_due(deployment, deliver)
    (got,) = receiver.received
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    key = base64.b64decode(webhook_secret(KEY, hook.id, 1).removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(got.body)["type"] == "webhook.test"
    assert newest(deployment, hook).state is DeliveryState.DELIVERED


def test_message_that_is_not_taken_is_sent_again_for_a_day_then_given_up(deployment, deliver, receiver):
    hook = make(deployment, receiver.url)
    deployment.webhooks.test_webhook(hook.id)
    receiver.statuses = [500] * (len(RETRY_SECONDS) + 1)
    for attempt, wait_seconds in enumerate((0, *RETRY_SECONDS)):
        deployment.clock.advance(wait_seconds * 0.99)
        send_due(deployment, deliver)
        assert len(receiver.received) == attempt + (wait_seconds == 0)
        deployment.clock.advance(wait_seconds * 0.12)
        send_due(deployment, deliver)
        assert len(receiver.received) == attempt + 1
    given_up = newest(deployment, hook)
    assert (given_up.state, len(given_up.attempts)) == (DeliveryState.FAILED, len(RETRY_SECONDS) + 1)
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    assert len({got.body for got in receiver.received}) == 1
    assert deployment.webhooks.get_webhook(hook.id).disabled_at is None


def test_message_gets_through_once_its_receiver_is_back(deployment, deliver, receiver):
    hook = make(deployment, receiver.url)
    deployment.webhooks.test_webhook(hook.id)
    receiver.statuses = [503, 302]
    for _ in range(3):
        send_due(deployment, deliver)
        deployment.clock.advance(60)
    delivered = newest(deployment, hook)
    assert delivered.state is DeliveryState.DELIVERED
    assert [attempt.status for attempt in delivered.attempts] == [503, 302, 204]


def test_receiver_that_is_gone_is_sent_nothing_more(deployment, deliver, receiver):
    hook = make(deployment, receiver.url)
    deployment.webhooks.test_webhook(hook.id)
    receiver.statuses = [410]
    send_due(deployment, deliver)
    assert newest(deployment, hook).state is DeliveryState.FAILED
    assert deployment.webhooks.get_webhook(hook.id).disabled_at is not None


def test_address_that_became_private_is_refused_and_noted(deployment, receiver):
    hook = make(deployment, receiver.url)
    deployment.webhooks.test_webhook(hook.id)
    outside = Deliver(deployment.webhooks, functools.partial(post, allowed=()), deployment.clock, KEY)
    send_due(deployment, outside)
    (attempt,) = newest(deployment, hook).attempts
    assert attempt.status is None
    assert "CROSSFADE_WEBHOOK_NETWORKS" in attempt.error
    assert receiver.received == []


def test_slow_receiver_holds_up_nobody_else(deployment, deliver):
    with WebhookReceiver() as slow, WebhookReceiver() as quick:
        released = threading.Event()
        slow.before_answer = lambda handler: not released.wait(20)
        hooks = [make(deployment, each.url) for each in (slow, quick)]
        for _ in range(3):
            for hook in hooks:
                deployment.webhooks.test_webhook(hook.id)
        stopping = threading.Event()
        sending = threading.Thread(target=deliver.run, args=(stopping,))
        sending.start()
        try:
            quick.wait_for(3)
            assert len(slow.received) == 1
        finally:
            released.set()
            slow.wait_for(3)
            stopping.set()
            sending.join()


def test_messages_of_a_job_arrive_in_the_order_of_its_log(deployment, deliver, receiver):
    make(deployment, receiver.url, events=frozenset(EventType), every_job=True)
    job = deployment.submit()
    deployment.deliver()
    for _ in range(10):
        send_due(deployment, deliver)
    told = [json.loads(got.body) for got in receiver.received]
    assert [message["data"]["sequence"] for message in told] == sorted(m["data"]["sequence"] for m in told)
    assert [told[0]["type"], told[-1]["type"]] == ["job.queued", "job.succeeded"]
    assert {message["data"]["job_id"] for message in told} == {job.id}


def test_store_that_is_away_ends_neither_the_sender_nor_the_message(deployment, deliver, receiver):
    hook = make(deployment, receiver.url)
    deployment.webhooks.test_webhook(hook.id)
    ((webhook, delivery),) = deployment.webhooks.claim_deliveries(1, 60)

    class Away:
        def settle_delivery(self, *_):
            raise StoreUnavailable("the database did not answer")

    Deliver(Away(), functools.partial(post, allowed=LOOPBACK), deployment.clock, KEY).send(webhook, delivery)
    deployment.clock.advance(61)
    send_due(deployment, deliver)
    assert len(receiver.received) == 2
    assert newest(deployment, hook).state is DeliveryState.DELIVERED


def test_fault_of_ours_is_an_attempt_that_failed(deployment):
    hook = make(deployment, "https://a.example")
    deployment.webhooks.test_webhook(hook.id)

    def broken(*_, **__):
        raise ZeroDivisionError

    send_due(deployment, Deliver(deployment.webhooks, broken, deployment.clock, KEY))
    waiting = newest(deployment, hook)
    assert (waiting.state, len(waiting.attempts)) == (DeliveryState.PENDING, 1)
    assert "error of the service" in waiting.attempts[0].error
    assert waiting.next_at > deployment.clock.now()
