"""API keys: a secret opens what its key may do, until it expires or is revoked, and is kept nowhere."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from crossfade_core.errors import KeyNameTaken, KeyNotFound, QueueLimitReached
from crossfade_core.job import JobState, Phase
from crossfade_core.job_store import Submission
from crossfade_core.key_store import NewKey
from crossfade_core.keys import Scope
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.key_store import SqlKeyStore

READ = frozenset({Scope.READ})


@pytest.fixture
def keys(engine, clock):
    return SqlKeyStore(engine, clock)


def test_secret_finds_its_key_and_no_other_text_does(keys):
    key, secret = keys.create_key(NewKey("alice", READ, max_jobs=3, requests_per_minute=90), "operator")
    other, _ = keys.create_key(NewKey("bob", READ), "operator")
    assert keys.find_key(secret) == key
    assert (key.name, key.scopes, key.max_jobs, key.requests_per_minute) == ("alice", READ, 3, 90)
    for wrong in ("", secret[:-1], secret + "x", secret.replace(key.id, other.id), secret[:-1] + "\n", "crossfade__"):
        assert keys.find_key(wrong) is None


def test_no_table_holds_a_secret(keys, engine):
    _, secret = keys.create_key(NewKey("alice", READ), "operator")
    with engine.connect() as connection:
        rows = connection.execute(text("select * from api_keys")).all()
    assert secret.split("_", 2)[2] not in str(rows)


def test_key_opens_nothing_from_when_it_expires(keys, clock):
    key, secret = keys.create_key(NewKey("alice", READ, expires_at=clock.now() + timedelta(days=1)), "operator")
    clock.advance(24 * 3600 - 1)
    assert keys.find_key(secret) == key
    clock.advance(1)
    assert keys.find_key(secret) is None


def test_revoked_key_opens_nothing_and_stays_listed(keys, clock):
    _, secret = keys.create_key(NewKey("alice", READ), "operator")
    revoked_at = clock.now()
    assert keys.revoke_key("alice", "operator").revoked_at == revoked_at
    clock.advance(5)
    assert keys.revoke_key("alice", "operator").revoked_at == revoked_at
    assert keys.find_key(secret) is None
    assert [key.name for key in keys.list_keys()] == ["alice"]


@pytest.mark.parametrize("name", ["alice", "local", "operator"])
def test_name_is_never_given_twice(keys, name):
    keys.create_key(NewKey("alice", READ), "operator")
    keys.revoke_key("alice", "operator")
    with pytest.raises(KeyNameTaken, match=name):
        keys.create_key(NewKey(name, READ), "operator")


def test_unknown_key_cannot_be_revoked(keys):
    with pytest.raises(KeyNotFound, match="nobody"):
        keys.revoke_key("nobody", "operator")


def test_key_has_no_more_unfinished_jobs_than_it_may(keys, store, spec):
    keys.create_key(NewKey("alice", READ, max_jobs=2), "operator")
    first, _ = (store.create_job(spec, Submission("alice")) for _ in range(2))
    for ask in (lambda: store.create_job(spec, Submission("alice")), lambda: store.check_limit("alice")):
        with pytest.raises(QueueLimitReached, match="'alice' has 2 unfinished jobs and may have 2"):
            ask()
    store.create_job(spec, Submission("bob"))
    for name in ("bob", None):
        store.check_limit(name)
    store.move_job(first.id, JobState.CANCELLED, phase=Phase.DONE)
    store.check_limit("alice")
    assert store.create_job(spec, Submission("alice")).submitted_by == "alice"


def test_submissions_at_once_do_not_slip_past_the_limit(keys, engine, clock, spec):
    keys.create_key(NewKey("alice", READ, max_jobs=2), "operator")

    def submit(_: int) -> bool:
        try:
            SqlJobStore(engine, clock).create_job(spec, Submission("alice"))
        except QueueLimitReached:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(submit, range(8))) == 2
