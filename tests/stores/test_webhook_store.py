"""Webhooks and deliveries on both databases: what is told to whom, claimed by one, settled once."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from crossfade_core.errors import WebhookNotFound, WebhookRefused
from crossfade_core.job import JobState, Phase
from crossfade_core.job_store import Submission
from crossfade_core.key_store import NewKey
from crossfade_core.keys import Scope
from crossfade_core.webhooks import (
    DEFAULT_EVENTS,
    KEPT,
    MAX_WEBHOOKS,
    OWNER_AT_ONCE,
    Attempt,
    DeliveryId,
    DeliveryState,
    EventType,
    NewWebhook,
    WebhookId,
)
from crossfade_stores.key_store import SqlKeyStore
from crossfade_stores.webhook_store import SqlWebhookStore

URL = "https://ci.example.org/hook"


@pytest.fixture
def webhooks(engine, clock):
    return SqlWebhookStore(engine, clock)


def run_to_end(store, spec, submitter="alice"):
    job = store.create_job(spec, Submission(submitter))
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    store.publish_output(job.id, 0, "file:///outputs/a", {})
    store.fail_output(job.id, 1, {"code": "output_exists"})
    store.move_job(job.id, JobState.PARTIALLY_SUCCEEDED, phase=Phase.DONE)
    return job


def deliveries(webhooks, webhook):
    return list(webhooks.list_deliveries(webhook.id))[::-1]


def test_an_ending_is_told_to_its_owners_webhook_and_to_those_of_every_job(store, webhooks, spec):
    own = webhooks.create_webhook(NewWebhook("alice", URL))
    foreign = webhooks.create_webhook(NewWebhook("bob", URL))
    every = webhooks.create_webhook(NewWebhook("root", URL, every_job=True))
    job = run_to_end(store, spec)
    (told,) = deliveries(webhooks, own)
    assert (told.type, told.state, told.job_id) == ("job.partially_succeeded", DeliveryState.PENDING, job.id)
    assert told.data["job_id"] == job.id
    assert told.data["state"] == "PARTIALLY_SUCCEEDED"
    assert told.data["labels"] == {"team": "größer"}
    assert told.data["links"] == {"self": f"/v1/merges/{job.id}"}
    assert told.sequence == told.data["sequence"] == store.list_events(job.id)[-1].sequence
    assert [each.type for each in deliveries(webhooks, every)] == [told.type]
    assert deliveries(webhooks, foreign) == []


def test_a_webhook_is_told_of_what_it_asked_for(store, webhooks, spec):
    hook = webhooks.create_webhook(NewWebhook("alice", URL, frozenset(EventType)))
    run_to_end(store, spec)
    assert sorted(each.type for each in deliveries(webhooks, hook)) == sorted(
        ["job.queued", "job.running", "output.published", "output.failed", "job.partially_succeeded"]
    )


def test_an_event_that_is_rolled_back_is_told_to_nobody(store, webhooks, spec, monkeypatch):
    hook = webhooks.create_webhook(NewWebhook("alice", URL, frozenset(EventType)))
    monkeypatch.setattr("crossfade_stores.job_submissions.note_act", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.create_job(spec, Submission("alice"))
    assert deliveries(webhooks, hook) == []


def test_a_webhook_is_shown_rotated_and_deleted(webhooks, clock):
    hook = webhooks.create_webhook(NewWebhook("alice", URL))
    assert (hook.events, hook.generation, hook.disabled_at) == (DEFAULT_EVENTS, 1, None)
    assert webhooks.get_webhook(hook.id) == hook
    assert list(webhooks.list_webhooks("alice")) == list(webhooks.list_webhooks()) == [hook]
    assert list(webhooks.list_webhooks("bob")) == []
    webhooks.disable_webhook(hook.id)
    at = clock.advance(60)
    rotated = webhooks.rotate_webhook(hook.id, "alice")
    assert (rotated.generation, rotated.rotated_at, rotated.disabled_at) == (2, at, None)
    webhooks.test_webhook(hook.id)
    webhooks.delete_webhook(hook.id, "alice")
    with pytest.raises(WebhookNotFound):
        webhooks.get_webhook(hook.id)


def test_unknown_webhooks_are_not_found(webhooks):
    hook, nobody = webhooks.create_webhook(NewWebhook("alice", URL)), WebhookId("hook-0")
    for call in (
        lambda: webhooks.get_webhook(nobody),
        lambda: webhooks.rotate_webhook(nobody, "alice"),
        lambda: webhooks.delete_webhook(nobody, "alice"),
        lambda: webhooks.test_webhook(nobody),
        lambda: webhooks.list_deliveries(nobody),
        lambda: webhooks.replay_delivery(hook.id, DeliveryId("msg-0")),
    ):
        with pytest.raises(WebhookNotFound):
            call()


def test_an_owner_has_only_so_many(webhooks):
    for _ in range(MAX_WEBHOOKS):
        webhooks.create_webhook(NewWebhook("alice", URL))
    with pytest.raises(WebhookRefused, match="delete one"):
        webhooks.create_webhook(NewWebhook("alice", URL))
    webhooks.create_webhook(NewWebhook("bob", URL))


def test_a_delivery_is_claimed_by_one_until_its_lease_ends(webhooks, clock):
    hook = webhooks.create_webhook(NewWebhook("alice", URL))
    message = webhooks.test_webhook(hook.id)
    ((claimed_hook, claimed),) = webhooks.claim_deliveries(10, 60)
    assert (claimed_hook, claimed.id) == (hook, message.id)
    assert webhooks.claim_deliveries(10, 60) == []
    clock.advance(61)
    assert [delivery.id for _, delivery in webhooks.claim_deliveries(10, 60)] == [message.id]


def test_one_message_at_a_time_goes_to_a_webhook_oldest_first_whoever_claims_it(webhooks, engine, clock):
    other = SqlWebhookStore(engine, clock)
    hooks = [webhooks.create_webhook(NewWebhook("alice", URL)) for _ in range(3)]
    sent = []
    for _ in range(2):
        sent.append([webhooks.test_webhook(hook.id).id for hook in hooks])
        clock.advance(1)
    first = webhooks.claim_deliveries(2, 60)
    rest = other.claim_deliveries(10, 60)
    assert {delivery.id for _, delivery in [*first, *rest]} == set(sent[0])
    assert webhooks.claim_deliveries(10, 60) == []
    webhook, delivery = first[0]
    webhooks.settle_delivery(delivery, Attempt(clock.now(), 0.1, 204), None)
    ((again, second),) = other.claim_deliveries(10, 60)
    assert (again.id, second.id in sent[1]) == (webhook.id, True)


def test_owner_of_many_silent_receivers_does_not_take_the_place_of_others(webhooks, clock):
    for _ in range(MAX_WEBHOOKS):
        webhooks.test_webhook(webhooks.create_webhook(NewWebhook("alice", URL)).id)
        clock.advance(1)
    late = webhooks.test_webhook(webhooks.create_webhook(NewWebhook("bob", URL)).id)
    claimed = webhooks.claim_deliveries(16, 60)
    assert [webhook.owner for webhook, _ in claimed].count("alice") == OWNER_AT_ONCE
    assert late.id in [delivery.id for _, delivery in claimed]
    assert webhooks.claim_deliveries(16, 60) == []
    delivery = claimed[0][1]
    webhooks.settle_delivery(delivery, Attempt(clock.now(), 15.0, error="no answer"), clock.advance(1))
    assert [each.owner for each, _ in webhooks.claim_deliveries(16, 60)] == ["alice"]


def test_of_two_that_claim_at_once_one_gets_a_delivery(webhooks):
    hooks = [webhooks.create_webhook(NewWebhook(f"owner-{number}", URL)) for number in range(10)]
    for hook in hooks:
        webhooks.test_webhook(hook.id)
    claimed, barrier = [], threading.Barrier(4)

    def claim():
        barrier.wait()
        claimed.extend(delivery.id for _, delivery in webhooks.claim_deliveries(10, 60))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 10


def test_an_attempt_is_noted_and_decides_what_follows(webhooks, clock):
    hook = webhooks.create_webhook(NewWebhook("alice", URL))
    webhooks.test_webhook(hook.id)
    ((_, claimed),) = webhooks.claim_deliveries(1, 60)
    later = clock.advance(5)
    webhooks.settle_delivery(claimed, Attempt(later, 0.5, 503), clock.advance(10))
    webhooks.settle_delivery(claimed, Attempt(later, 0.5, 200), None)  # of one that lost its lease: too late
    (waiting,) = deliveries(webhooks, hook)
    assert (waiting.state, waiting.next_at, waiting.attempts) == (
        DeliveryState.PENDING,
        clock.now(),
        (Attempt(later, 0.5, 503),),
    )
    ((_, again),) = webhooks.claim_deliveries(1, 60)
    webhooks.settle_delivery(again, Attempt(later, 0.1, 204), clock.advance(10))
    (done,) = deliveries(webhooks, hook)
    assert (done.state, done.next_at, len(done.attempts)) == (DeliveryState.DELIVERED, None, 2)
    assert webhooks.claim_deliveries(1, 60) == []


def test_without_a_next_time_a_delivery_has_failed_and_can_be_replayed(webhooks, clock):
    hook = webhooks.create_webhook(NewWebhook("alice", URL))
    webhooks.test_webhook(hook.id)
    ((_, claimed),) = webhooks.claim_deliveries(1, 60)
    webhooks.settle_delivery(claimed, Attempt(clock.now(), 0.5, None, "no answer"), None)
    (failed,) = webhooks.list_deliveries(hook.id, DeliveryState.FAILED)
    clock.advance(1)
    replay = webhooks.replay_delivery(hook.id, failed.id)
    assert (replay.replay_of, replay.type, replay.data) == (failed.id, failed.type, failed.data)
    assert [delivery.id for _, delivery in webhooks.claim_deliveries(1, 60)] == [replay.id]
    assert [each.id for each in webhooks.list_deliveries(hook.id)] == [replay.id, failed.id]
    assert [each.id for each in webhooks.list_deliveries(hook.id, limit=1, before=replay.id)] == [failed.id]


def test_a_disabled_webhook_is_sent_nothing_more(store, webhooks, spec):
    hook = webhooks.create_webhook(NewWebhook("alice", URL))
    webhooks.test_webhook(hook.id)
    webhooks.disable_webhook(hook.id)
    run_to_end(store, spec)
    assert [each.state for each in deliveries(webhooks, hook)] == [DeliveryState.FAILED]
    assert webhooks.claim_deliveries(1, 60) == []


def test_a_disabled_webhook_is_neither_tested_nor_replayed_until_it_is_rotated(webhooks):
    hook = webhooks.create_webhook(NewWebhook("alice", URL))
    sent = webhooks.test_webhook(hook.id)
    webhooks.disable_webhook(hook.id)
    for call in (lambda: webhooks.test_webhook(hook.id), lambda: webhooks.replay_delivery(hook.id, sent.id)):
        with pytest.raises(WebhookRefused, match="disabled"):
            call()
    webhooks.rotate_webhook(hook.id, "alice")
    webhooks.test_webhook(hook.id)
    assert len(webhooks.claim_deliveries(10, 60)) == 1


def test_a_key_that_expired_or_was_revoked_is_told_of_nothing(store, webhooks, spec, engine, clock):
    keys = SqlKeyStore(engine, clock)
    keys.create_key(NewKey("admin", frozenset({Scope.ADMIN}), expires_at=clock.now() + timedelta(days=1)), "operator")
    keys.create_key(NewKey("thief", frozenset({Scope.ADMIN})), "operator")
    keys.revoke_key("thief", "operator")
    hooks = [webhooks.create_webhook(NewWebhook(name, URL, every_job=True)) for name in ("admin", "thief", "operator")]
    run_to_end(store, spec)
    assert [len(deliveries(webhooks, hook)) for hook in hooks] == [1, 0, 1]
    clock.advance(86_400)
    run_to_end(store, spec)
    assert [len(deliveries(webhooks, hook)) for hook in hooks] == [1, 0, 2]


def test_a_webhook_that_is_deleted_meanwhile_takes_no_job_with_it(store, webhooks, spec):
    barrier = threading.Barrier(2)

    def delete_all():
        barrier.wait()
        for hook in webhooks.list_webhooks():
            webhooks.delete_webhook(hook.id, "alice")

    for _ in range(10):
        for _ in range(3):
            webhooks.create_webhook(NewWebhook("alice", URL, frozenset(EventType)))
        thread = threading.Thread(target=delete_all)
        thread.start()
        barrier.wait()
        jobs = [store.create_job(spec, Submission("alice")) for _ in range(3)]
        thread.join()
        assert all(store.get_job(job.id) == job for job in jobs)


def test_two_that_make_webhooks_at_once_are_counted_in_turn(webhooks):
    for _ in range(MAX_WEBHOOKS - 2):
        webhooks.create_webhook(NewWebhook("alice", URL))

    def make(_):
        with contextlib.suppress(WebhookRefused):
            webhooks.create_webhook(NewWebhook("alice", URL))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    assert len(webhooks.list_webhooks("alice")) == MAX_WEBHOOKS


def test_the_webhooks_of_a_revoked_key_are_disabled(engine, clock, webhooks):
    keys = SqlKeyStore(engine, clock)
    keys.create_key(NewKey("alice", frozenset({Scope.READ})), "operator")
    hook, other = (webhooks.create_webhook(NewWebhook(name, URL)) for name in ("alice", "bob"))
    at = clock.advance(60)
    keys.revoke_key("alice", "operator")
    assert webhooks.get_webhook(hook.id).disabled_at == at
    assert webhooks.get_webhook(other.id).disabled_at is None


def test_what_was_settled_long_ago_is_forgotten(webhooks, clock):
    hook = webhooks.create_webhook(NewWebhook("alice", URL))
    webhooks.test_webhook(hook.id)
    ((_, settled),) = webhooks.claim_deliveries(1, 60)
    webhooks.settle_delivery(settled, Attempt(clock.now(), 0.5, 200), None)
    waiting = webhooks.test_webhook(hook.id)
    clock.advance(KEPT.total_seconds() - 1)
    webhooks.forget_deliveries()
    assert len(deliveries(webhooks, hook)) == 2
    clock.advance(1)
    webhooks.forget_deliveries()
    assert [each.id for each in deliveries(webhooks, hook)] == [waiting.id]
