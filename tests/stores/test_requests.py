"""Idempotency keys: the same request finds its job, and no two processes answer it at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from crossfade_core.errors import IdempotencyMismatch, RequestInFlight
from crossfade_core.job_store import IdempotentRequest, Submission
from crossfade_stores.job_requests import IN_FLIGHT, KEPT
from crossfade_stores.job_store import SqlJobStore

REQUEST = IdempotentRequest("alice", "release-7", "sha256:body", "attempt-1")
AGAIN = replace(REQUEST, attempt="attempt-2")
OTHER_BODY = IdempotentRequest("alice", "release-7", "sha256:other", "attempt-3")


def test_answered_request_finds_its_job_for_a_day(store, spec, clock):
    assert store.begin_request(REQUEST) is None
    job = store.create_job(spec, Submission(request=REQUEST))
    assert store.begin_request(REQUEST) == job.id
    clock.advance(KEPT.total_seconds() - 1)
    assert store.begin_request(REQUEST) == job.id
    clock.advance(1)
    assert store.begin_request(REQUEST) is None


def test_request_that_is_being_answered_is_answered_by_nobody_else_until_it_is_given_up(store, clock):
    assert store.begin_request(REQUEST) is None
    with pytest.raises(RequestInFlight, match="release-7"):
        store.begin_request(REQUEST)
    clock.advance(IN_FLIGHT.total_seconds())
    assert store.begin_request(AGAIN) is None
    with pytest.raises(RequestInFlight):
        store.begin_request(REQUEST)


def test_attempt_that_was_given_up_neither_answers_nor_drops_the_one_after_it(store, spec, clock):
    store.begin_request(REQUEST)
    clock.advance(IN_FLIGHT.total_seconds())
    store.begin_request(AGAIN)
    store.drop_request(REQUEST)
    with pytest.raises(RequestInFlight):
        store.create_job(spec, Submission(request=REQUEST))
    assert store.list_jobs() == []
    job = store.create_job(spec, Submission(request=AGAIN))
    assert store.begin_request(REQUEST) == job.id


def test_key_with_another_body_is_refused_whether_answered_or_not(store, spec):
    store.begin_request(REQUEST)
    with pytest.raises(IdempotencyMismatch, match="another body"):
        store.begin_request(OTHER_BODY)
    job = store.create_job(spec)
    store.answer_request(REQUEST, job.id)
    with pytest.raises(IdempotencyMismatch):
        store.begin_request(OTHER_BODY)
    assert store.begin_request(REQUEST) == job.id


def test_key_is_its_callers_own(store, spec):
    store.begin_request(REQUEST)
    assert store.begin_request(replace(OTHER_BODY, caller="bob")) is None


def test_refused_request_is_forgotten_and_an_answered_one_is_not(store, spec):
    store.begin_request(REQUEST)
    store.drop_request(REQUEST)
    assert store.begin_request(OTHER_BODY) is None
    job = store.create_job(spec, Submission(request=OTHER_BODY))
    store.drop_request(OTHER_BODY)
    assert store.begin_request(OTHER_BODY) == job.id


def test_old_requests_are_swept_away_and_their_jobs_stay(store, spec, clock):
    store.begin_request(REQUEST)
    job = store.create_job(spec, Submission(request=REQUEST))
    clock.advance(KEPT.total_seconds())
    store.forget_requests()
    assert store.get_job(job.id).id == job.id
    assert store.begin_request(OTHER_BODY) is None


def test_of_equal_requests_at_once_one_is_to_be_answered(engine, clock):
    def begin(_: int) -> bool:
        try:
            return SqlJobStore(engine, clock).begin_request(REQUEST) is None
        except RequestInFlight:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(16))) == 1
