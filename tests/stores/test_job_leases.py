"""The control lease: one process at a time plans or publishes a job, and a dead one's lease comes free."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Engine

from crossfade_core.errors import JobNotFound
from crossfade_core.job import JobId
from crossfade_stores.job_store import SqlJobStore

LEASE = 30.0


def test_one_owner_holds_the_lease_and_may_renew_it(store, spec, clock):
    job = store.create_job(spec)
    assert store.lease_job(job.id, "control-1", LEASE)
    clock.advance(LEASE - 1)
    assert store.lease_job(job.id, "control-1", LEASE)
    clock.advance(LEASE - 1)
    assert not store.lease_job(job.id, "control-2", LEASE)


def test_an_expired_lease_goes_to_the_next_owner(store, spec, clock):
    job = store.create_job(spec)
    store.lease_job(job.id, "control-1", LEASE)
    clock.advance(LEASE)
    assert store.lease_job(job.id, "control-2", LEASE)
    assert not store.lease_job(job.id, "control-1", LEASE)


def test_a_lease_is_given_back_by_its_holder_only(store, spec):
    job = store.create_job(spec)
    store.lease_job(job.id, "control-1", LEASE)
    store.release_job(job.id, "control-2")
    assert not store.lease_job(job.id, "control-2", LEASE)
    store.release_job(job.id, "control-1")
    assert store.lease_job(job.id, "control-2", LEASE)


def test_leasing_neither_changes_the_job_nor_writes_history(store, spec, clock):
    job = store.create_job(spec)
    clock.advance(1)
    store.lease_job(job.id, "control-1", LEASE)
    store.release_job(job.id, "control-1")
    assert store.get_job(job.id) == job
    assert len(store.list_events(job.id)) == 1


def test_an_unknown_job_is_not_leased(store):
    with pytest.raises(JobNotFound, match="job-0"):
        store.lease_job(JobId("job-0"), "control-1", LEASE)


def test_of_many_owners_at_once_one_gets_the_lease(
    store, spec, clock, engine: Engine, open_engine: Callable[[str], Engine], database_url: str
):
    stores = [store, SqlJobStore(open_engine(database_url), clock)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            job = store.create_job(spec)
            calls = [partial(stores[n % 2].lease_job, job.id, f"control-{n}", LEASE) for n in range(8)]
            assert sorted(pool.map(lambda call: call(), calls)) == [False] * 7 + [True]
