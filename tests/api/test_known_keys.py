"""Keys are remembered for a second and no longer: one that is revoked or expires opens nothing here after that."""

from datetime import timedelta

import pytest

from crossfade_api.known_keys import REMEMBERED_SECONDS, KnownKeys
from crossfade_core.key_store import NewKey
from crossfade_core.keys import Scope
from crossfade_stores.engine import create_store_engine
from crossfade_stores.key_store import SqlKeyStore
from crossfade_stores.schema import upgrade
from tests.fakes.clock import FakeClock

READ = frozenset({Scope.READ})


class CountingStore(SqlKeyStore):
    asked = 0

    def find_key(self, secret):
        self.asked += 1
        return super().find_key(secret)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def seconds(monkeypatch):
    """What `time.monotonic` says there, to be moved."""
    now = [100.0]
    monkeypatch.setattr("crossfade_api.known_keys.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def store(tmp_path, clock):
    engine = create_store_engine(f"sqlite:///{tmp_path}/keys.db")
    upgrade(engine)
    yield CountingStore(engine, clock)
    engine.dispose()


@pytest.fixture
def known(store, clock):
    return KnownKeys(store, clock)


def find(known, secret):
    return known.remembered(secret) or known.find_key(secret)


def test_database_is_asked_once_a_second_for_a_key(known, store, seconds):
    key, secret = known.create_key(NewKey("alice", READ), "operator")
    for _ in range(10):
        assert find(known, secret) == key
    assert store.asked == 1
    seconds[0] += REMEMBERED_SECONDS
    assert find(known, secret) == key
    assert store.asked == 2


def test_what_opens_nothing_is_asked_for_each_time(known, store):
    for _ in range(3):
        assert find(known, "crossfade_0123456789abcdef_" + "x" * 43) is None
    assert store.asked == 3


def test_key_revoked_here_opens_nothing_at_once(known):
    _, secret = known.create_key(NewKey("alice", READ), "operator")
    assert find(known, secret)
    known.revoke_key("alice", "operator")
    assert find(known, secret) is None


def test_key_revoked_elsewhere_opens_nothing_within_a_second(known, store, seconds):
    _, secret = known.create_key(NewKey("alice", READ), "operator")
    assert find(known, secret)
    store.revoke_key("alice", "operator")
    seconds[0] += REMEMBERED_SECONDS
    assert find(known, secret) is None


def test_key_that_was_read_before_it_was_revoked_is_not_remembered(known, store, monkeypatch):
    _, secret = known.create_key(NewKey("alice", READ), "operator")
    read = store.find_key

    def revoke_in_between(secret):
        key = read(secret)
        known.revoke_key("alice", "operator")
        return key

    monkeypatch.setattr(store, "find_key", revoke_in_between)
    known.find_key(secret)
    assert known.remembered(secret) is None


def test_key_that_expires_opens_nothing_from_then_on(known, clock):
    _, secret = known.create_key(NewKey("alice", READ, expires_at=clock.now() + timedelta(seconds=0.5)), "operator")
    assert find(known, secret)
    clock.advance(0.5)
    assert known.remembered(secret) is None


def test_no_secret_is_kept(known):
    _, secret = known.create_key(NewKey("alice", READ), "operator")
    find(known, secret)
    assert secret not in repr(vars(known))
