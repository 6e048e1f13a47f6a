"""The audit log on both databases: every act by its actor, with the act or not at all."""

import pytest

from crossfade_core.audit import Action, AuditFilter
from crossfade_core.errors import IllegalTransition
from crossfade_core.job import JobState, Phase
from crossfade_core.job_store import Submission
from crossfade_core.key_store import NewKey
from crossfade_core.keys import Scope
from crossfade_core.webhooks import NewWebhook
from crossfade_stores.audit_log import SqlAuditLog
from crossfade_stores.key_store import SqlKeyStore
from crossfade_stores.webhook_store import SqlWebhookStore


@pytest.fixture
def audit(engine, clock):
    return SqlAuditLog(engine, clock)


def acts(audit, **wanted):
    return [(entry.actor, entry.action.value, entry.subject) for entry in audit.list_entries(AuditFilter(**wanted))]


def test_what_is_done_to_jobs_is_told_with_who_did_it(store, audit, spec, clock):
    job = store.create_job(spec, Submission("alice"))
    clock.advance(1)
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    store.publish_output(job.id, 1, "s3://models/b", {})
    clock.advance(1)
    store.move_job(job.id, JobState.PARTIALLY_SUCCEEDED, phase=Phase.DONE)
    store.retry_job(job.id, "bob")
    clock.advance(1)
    at = clock.now()
    store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE, by="carol")
    entries = audit.list_entries()
    assert [(entry.actor, entry.action.value) for entry in entries] == [
        ("carol", "merge.cancelled"),
        ("bob", "merge.retried"),
        ("alice", "output.published"),
        ("alice", "merge.submitted"),
    ]
    assert {entry.subject for entry in entries} == {job.id}
    assert entries[0].at == at
    assert entries[2].data["uri"] == "s3://models/b"
    assert entries[3].data == {
        "sources": {"base": spec.base, "instruct": spec.instruct},
        "lambdas": list(spec.lambdas),
        "destination": "outputs",
    }


def test_who_cancelled_and_retried_stands_in_the_jobs_own_log_too(store, spec):
    job = store.create_job(spec, Submission("alice"))
    store.move_job(job.id, JobState.FAILED, phase=Phase.DONE)
    store.retry_job(job.id, "bob")
    cancelled = store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE, by="carol")
    told = {event.type: event.data.get("by") for event in store.list_events(job.id)}
    assert (told["job.retried"], told["job.cancelled"]) == ("bob", "carol")
    assert cancelled.cancel_requested_at is not None


def test_what_workers_do_by_themselves_is_no_act(store, audit, spec):
    job = store.create_job(spec)
    store.move_job(job.id, JobState.FAILED, phase=Phase.DONE)
    assert audit.list_entries() == []


def test_an_act_that_is_refused_is_not_told(store, audit, spec):
    job = store.create_job(spec, Submission("alice"))
    store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE, by="alice")
    with pytest.raises(IllegalTransition):
        store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE, by="bob")
    assert acts(audit, actor="bob") == []


def test_keys_and_webhooks_are_told_without_their_secrets(engine, audit, clock):
    keys, webhooks = SqlKeyStore(engine, clock), SqlWebhookStore(engine, clock)
    _, secret = keys.create_key(NewKey("alice", frozenset({Scope.READ}), max_jobs=3), "operator")
    hook = webhooks.create_webhook(NewWebhook("alice", "https://a.example/h"))
    webhooks.rotate_webhook(hook.id, "alice")
    webhooks.delete_webhook(hook.id, "operator")
    keys.revoke_key("alice", "operator")
    keys.revoke_key("alice", "operator")  # the second time nothing is done
    assert sorted(acts(audit)) == sorted(
        [
            ("operator", "key.created", "alice"),
            ("operator", "key.revoked", "alice"),
            ("alice", "webhook.created", hook.id),
            ("alice", "webhook.rotated", hook.id),
            ("operator", "webhook.deleted", hook.id),
        ]
    )
    assert secret not in repr(audit.list_entries())


def test_entries_are_found_by_who_what_whom_and_when(store, audit, spec, clock):
    first = store.create_job(spec, Submission("alice"))
    noon = clock.advance(60)
    second = store.create_job(spec, Submission("bob"))
    store.move_job(second.id, JobState.CANCELLED, phase=Phase.DONE, by="alice")
    assert len(acts(audit, actor="alice")) == 2
    assert acts(audit, action=Action.MERGE_CANCELLED) == [("alice", "merge.cancelled", second.id)]
    assert acts(audit, subject=first.id) == acts(audit, until=noon) == [("alice", "merge.submitted", first.id)]
    assert len(acts(audit, since=noon)) == 2


def test_pages_hold_every_entry_once(store, audit, spec, clock):
    for _ in range(5):
        store.create_job(spec, Submission("alice"))
        clock.advance(1)
    every = audit.list_entries()
    seen, before = [], None
    while page := audit.list_entries(limit=2, before=before):
        seen += page
        before = page[-1].id
    assert seen == every
