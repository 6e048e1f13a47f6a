"""Webhooks by real processes on PostgreSQL and Redis: no message is lost, whoever is killed."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade_client.webhooks import verify
from crossfade_core.webhooks import DeliveryState, EventType, NewWebhook, Webhook, webhook_secret
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.webhook_store import SqlWebhookStore
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.held_ports import held_port
from tests.system.fleet import Fleet
from tests.system.serving import PAIR, wait_for

pytestmark = pytest.mark.slow

KEY = "a key of the service that is long enough"
TOLD = ["job.queued", "job.running", "output.published", "job.succeeded"]


class Told:
    """A fleet that sends webhooks, the store they are in, and a port that nobody listens at yet."""

    def __init__(self, fleet: Fleet, webhooks: SqlWebhookStore, port: int) -> None:
        self.fleet, self.webhooks, self.port = fleet, webhooks, port

    def make(self, port: int) -> Webhook:
        url = f"http://127.0.0.1:{port}/hook"
        return self.webhooks.create_webhook(NewWebhook("operator", url, frozenset(EventType), every_job=True))

    def all_delivered(self, hook: Webhook) -> bool:
        found = self.webhooks.list_deliveries(hook.id)
        return bool(found) and all(each.state is DeliveryState.DELIVERED for each in found)


@pytest.fixture
def told(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Told]:
    settings = {"webhook_key": KEY, "webhook_networks": json.dumps(["127.0.0.0/8"])}
    engine = create_store_engine(postgres_url)
    with Fleet(tmp_path, PAIR, (postgres_url, redis_url), **settings) as fleet, held_port() as port:
        yield Told(fleet, SqlWebhookStore(engine, SystemClock()), port)
    engine.dispose()


def messages(receiver: WebhookReceiver, hook: Webhook):
    """Verify what came and return it, each message once, in the order of the log."""
    secret = webhook_secret(KEY.encode(), hook.id, 1)
    read = {got.headers["webhook-id"]: verify(secret, got.headers, got.body) for got in receiver.received}
    return sorted(read.values(), key=lambda message: message.data["sequence"])


def test_messages_of_a_job_come_signed_and_in_order(told):
    with WebhookReceiver() as receiver:
        hook = told.make(receiver.port)
        told.fleet.start("control")
        told.fleet.start("merge")
        job_id = told.fleet.submit()
        receiver.wait_for(len(TOLD), 120)
        came = [verify(webhook_secret(KEY.encode(), hook.id, 1), got.headers, got.body) for got in receiver.received]
    assert [message.type for message in came] == TOLD
    assert {message.job_id for message in came} == {job_id}
    stored = {event.sequence: event.type for event in told.fleet.store.list_events(job_id)}
    assert all(stored[message.data["sequence"]] == message.type for message in came)


def test_messages_wait_for_a_receiver_that_is_away(told):
    hook = told.make(told.port)
    told.fleet.start("control")
    told.fleet.start("merge")
    job_id = told.fleet.submit()
    told.fleet.ended(job_id)
    wait_for(lambda: all(each.attempts for each in told.webhooks.list_deliveries(hook.id)), 30)
    with WebhookReceiver(port=told.port) as receiver:
        wait_for(lambda: told.all_delivered(hook), 200)
        assert [message.type for message in messages(receiver, hook)] == TOLD
    first = told.webhooks.list_deliveries(hook.id)[0].attempts
    assert first[0].status is None
    assert first[-1].status == 204


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_messages_outlive_the_sender(told, how):
    with WebhookReceiver() as receiver:
        hook = told.make(receiver.port)
        is_ended = threading.Event()
        receiver.before_answer = lambda handler: not is_ended.wait(60)  # no answer while the sender lives
        control = told.fleet.start("control")
        job_id = told.fleet.submit()
        receiver.wait_for(1, 60)
        if how is signal.SIGKILL:
            told.fleet.kill("control")
        else:
            control.send_signal(how)
            control.wait(60)
        is_ended.set()
        told.fleet.start("control", "control-2")
        told.fleet.start("merge")
        told.fleet.ended(job_id)
        wait_for(lambda: told.all_delivered(hook), 400)
        assert [message.type for message in messages(receiver, hook)] == TOLD
