"""How many requests a caller may send: counted by key, announced in every answer, over when the minute is."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from crossfade_api.rate_limits import RequestCounter
from tests.api.conftest import SPEC
from tests.api.test_keys import OPERATOR, TOKEN, ask, make_key
from tests.api.test_problems import CrashingStore
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def start(deploy, clock):
    def start(**changes):
        return deploy(clock=clock, **{"api_token": TOKEN, "api_host": "0.0.0.0", **changes})

    return start


def limits(answer):
    return answer.headers.get("ratelimit-policy"), answer.headers.get("ratelimit")


def test_every_answer_says_what_is_left_and_until_when(start, clock):
    deployment = start()
    key = make_key(deployment, "alice", requests_per_minute=5)
    calls = [("GET", "/v1/merges"), ("GET", "/v1/nothing"), ("POST", "/v1/keys"), ("POST", "/v1/merges")]
    for left, (method, path) in zip([4, 3, 2, 1], calls, strict=True):
        answer = deployment.client.request(method, path, headers=key)
        assert limits(answer) == ('"requests";q=5;w=60', f'"requests";r={left};t={60 - 10 * (4 - left)}')
        clock.advance(10)


def test_key_without_a_rate_has_the_servers_and_so_has_the_operator(start):
    deployment = start(requests_per_minute=7)
    key = make_key(deployment, "alice")
    for headers in (key, OPERATOR):
        assert limits(deployment.client.get("/v1/merges", headers=headers))[0] == '"requests";q=7;w=60'
    assert limits(start().client.get("/v1/merges", headers=OPERATOR))[0] == '"requests";q=1200;w=60'


def test_one_request_too_many_is_refused_until_the_minute_is_over(start, clock):
    deployment = start()
    key = make_key(deployment, "alice", requests_per_minute=2)
    clock.advance(3600)
    assert ask(deployment, "GET", "/v1/merges", key) == (200, None)
    clock.advance(12.5)
    assert ask(deployment, "GET", "/v1/merges", key) == (200, None)
    for _ in range(2):
        answer = deployment.client.get("/v1/merges", headers=key)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["retryable"]) == (429, "rate_limited", True)
        assert answer.headers["content-type"] == "application/problem+json"
        assert limits(answer)[1] == '"requests";r=0;t=48'
        assert answer.headers["retry-after"] == "48"
        assert problem["details"] == {"requests_per_minute": 2, "retry_after_seconds": 48}
    clock.advance(47)
    assert ask(deployment, "GET", "/v1/merges", key) == (429, "rate_limited")
    clock.advance(1)
    assert ask(deployment, "GET", "/v1/merges", key) == (200, None)


def test_a_refused_request_does_nothing(start):
    deployment = start()
    key = make_key(deployment, "alice", requests_per_minute=1)
    assert ask(deployment, "GET", "/v1/merges", key) == (200, None)
    assert ask(deployment, "POST", "/v1/merges", key, **SPEC) == (429, "rate_limited")
    assert deployment.client.get("/v1/merges", headers=OPERATOR).json()["items"] == []
    assert deployment.queue.sent == []


def test_the_flood_of_one_key_does_not_touch_another(start):
    deployment = start(requests_per_minute=3)
    flood, calm = make_key(deployment, "flood"), make_key(deployment, "calm")
    answers = [ask(deployment, "GET", "/v1/merges", flood)[0] for _ in range(6)]
    assert answers == [200] * 3 + [429] * 3
    assert ask(deployment, "GET", "/v1/merges", calm) == (200, None)
    assert ask(deployment, "GET", "/v1/merges", OPERATOR) == (200, None)


def test_a_stream_counts_once_and_carries_the_headers(start):
    deployment = start()
    key = make_key(deployment, "alice", requests_per_minute=10)
    job = deployment.client.post("/v1/merges", json=SPEC, headers=key).json()
    deployment.client.post(job["links"]["cancel"], headers=key)
    with deployment.client.stream("GET", job["links"]["events"], headers=key) as answer:
        assert limits(answer)[1].startswith('"requests";r=7;')
        assert "job.cancelled" in "".join(answer.iter_text())
    assert limits(deployment.client.get("/v1/merges", headers=key))[1].startswith('"requests";r=6;')


def test_a_fault_of_ours_carries_the_headers_too(start):
    deployment = start(raise_errors=False)
    state = deployment.client.app.state
    state.adapters = replace(state.adapters, store=CrashingStore())
    answer = deployment.client.get("/v1/merges/some-job", headers=OPERATOR)
    assert (answer.status_code, limits(answer)[0]) == (500, '"requests";q=1200;w=60')


def test_what_has_no_caller_is_not_counted(start):
    deployment = start(requests_per_minute=1)
    for path in ("/healthz", "/readyz", "/openapi.json", "/problems"):
        for _ in range(3):
            answer = deployment.client.get(path, headers=OPERATOR)
            assert (answer.status_code, limits(answer)) == (200, (None, None))
    assert limits(deployment.client.get("/v1/merges")) == (None, None)  # 401
    assert ask(deployment, "GET", "/v1/merges", OPERATOR) == (200, None)


def test_this_machine_without_a_key_has_no_limit_and_a_key_has(deploy):
    deployment = deploy(requests_per_minute=1)
    made = deployment.client.post("/v1/keys", json={"name": "alice"}).json()
    for _ in range(3):
        answer = deployment.client.get("/v1/merges")
        assert (answer.status_code, limits(answer)) == (200, (None, None))
    key = {"authorization": f"Bearer {made['secret']}"}
    assert [ask(deployment, "GET", "/v1/merges", key)[0] for _ in range(2)] == [200, 429]


def test_a_server_without_a_limit_still_holds_a_key_to_its_own(start):
    deployment = start(requests_per_minute=0)
    key = make_key(deployment, "alice", requests_per_minute=1)
    assert limits(deployment.client.get("/v1/merges", headers=OPERATOR)) == (None, None)
    assert [ask(deployment, "GET", "/v1/merges", key)[0] for _ in range(2)] == [200, 429]


def test_the_counter_forgets_callers_of_minutes_past(clock):
    counter = RequestCounter()
    for number in range(10_000):
        counter.count(f"caller-{number}", 10, clock.now())
        clock.advance(1)
    assert len(counter) <= 61


def test_a_caller_that_begins_anew_is_not_forgotten_with_those_that_began_before(clock):
    counter = RequestCounter()
    counter.count("old", 1, clock.now())
    clock.advance(30)
    counter.count("new", 1, clock.now())
    clock.advance(30)
    assert not counter.count("old", 1, clock.now()).is_exceeded
    assert counter.count("new", 1, clock.now()).is_exceeded


def test_a_clock_that_is_set_back_locks_nobody_out(clock):
    counter = RequestCounter()
    counter.count("alice", 1, clock.now())
    assert counter.count("alice", 1, clock.now()).is_exceeded
    assert not counter.count("alice", 1, clock.now() - timedelta(days=1)).is_exceeded


def test_to_count_a_request_costs_microseconds(clock):
    counter, now = RequestCounter(), clock.now()
    begun = time.thread_time()
    for number in range(20_000):
        counter.count(f"caller-{number % 1000}", 10, now).headers  # noqa: B018
    assert (time.thread_time() - begun) / 20_000 < 100e-6  # 3 µs alone on two cores
