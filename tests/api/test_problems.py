"""Every error is a problem, and no body, however bad, is an error of the service."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from crossfade_api.problems import STATUS, status_of
from crossfade_core.errors import CheckpointError, CrossfadeError, StoreUnavailable
from tests.api.conftest import SPEC


def every_class(root: type[CrossfadeError] = CrossfadeError) -> Iterator[type[CrossfadeError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from every_class(kind)


class CrashingStore:
    """A store with a bug: a secret in the message of an exception that nobody expects."""

    def get_job(self, job_id):
        raise RuntimeError("secret-in-a-message")

    def list_jobs(self, wanted=None, **page):
        raise StoreUnavailable("the database did not answer; check that it runs")


@pytest.mark.parametrize("kind", [*every_class()], ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_has_a_status(kind):
    status = status_of(kind)
    assert 400 <= status < 600
    is_otherwise_retryable = kind.code in (
        "lease_lost",
        "unit_crashed",
        "out_of_memory",
        "queue_limit_reached",
        "rate_limited",
        "request_in_flight",
    )
    assert (status == 503) == (kind.retryable and not is_otherwise_retryable)
    if kind.blame == "user" and not issubclass(kind, CheckpointError):
        assert kind in STATUS


def test_no_two_errors_share_a_code():
    codes = [kind.code for kind in every_class()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/merges/", 404, "not_found"),
        ("DELETE", "/v1/merges", 405, "method_not_allowed"),
        ("PUT", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_unknown_routes_and_methods_are_problems(deployment, method, path, status, code):
    answer = deployment.client.request(method, path)
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert problem["code"] == code
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("allow" in answer.headers) == (status == 405)


def test_an_unexpected_exception_tells_a_request_id_and_nothing_else(deploy):
    deployment = deploy(raise_errors=False)
    state = deployment.client.app.state
    state.adapters = replace(state.adapters, store=CrashingStore())
    with capture_logs() as logs:
        answer = deployment.client.get("/v1/merges/some-job")
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["blame"]) == (500, "internal_error", "service")
    assert "secret" not in answer.text
    (entry,) = [entry for entry in logs if entry["event"] == "request.failed"]
    assert entry["details"]["request_id"] == problem["details"]["request_id"]
    assert "secret-in-a-message" in str(entry["exc_info"])


def test_a_database_that_is_away_asks_to_come_back(deployment):
    state = deployment.client.app.state
    state.adapters = replace(state.adapters, store=CrashingStore())
    answer = deployment.client.get("/v1/merges")
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "store_unavailable", True)
    assert int(answer.headers["retry-after"]) > 0


def test_a_body_over_a_mebibyte_is_refused_however_it_is_sent(deployment):
    big = json.dumps({**SPEC, "labels": {"a": "x" * (1 << 20)}}).encode()
    for content in (big, iter([big[:1000], big[1000:]])):
        answer = deployment.client.post("/v1/merges", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_body_of_a_mebibyte_is_read(deployment):
    body = json.dumps(SPEC).encode()
    body += b" " * ((1 << 20) - len(body))
    answer = deployment.client.post("/v1/merges", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"lambdas": [' + b"9" * 5000 + b"]}",
        b"NaN",
        b"\x00",
        b'"\\ud800"',
        json.dumps({"\ud800": "\ud800"}).encode(),
        json.dumps({**SPEC, "base": "local://models/\ud800"}).encode(),
        json.dumps({**SPEC, "base": "local://models/" + "x" * 1000}).encode(),
        json.dumps({**SPEC, "base": "local://models/" + "x/" * 500 + "x"}).encode(),
        json.dumps({**SPEC, "labels": {"a": "\ud800"}}).encode(),
        json.dumps({**SPEC, "labels": {"a": "\x00"}}).encode(),
        json.dumps({**SPEC, "lambdas": [10**400]}).encode(),
        json.dumps({**SPEC, "lambdas": [1e-320, 5e-324], "allow_extrapolation": True}).encode(),
        json.dumps({**SPEC, "lambdas": [float("nan"), float("inf")]}).encode(),
        json.dumps({**SPEC, "lambdas": [1e308], "allow_extrapolation": True}).encode(),
        json.dumps({**SPEC, "output_name": "{lambda.real}"}).encode(),
        json.dumps({**SPEC, "output_name": "{lambda:>999999999}"}).encode(),
        json.dumps({**SPEC, "output_name": "{0}{lambda}{"}).encode(),
    ],
    ids=range(20),
)
def test_a_hostile_body_is_the_users_error(deployment, body):
    answer = deployment.client.post("/v1/merges", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["blame"] == "user"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=8,
)
TEXTS = st.sampled_from(["local://models/base", "{lambda}", "{job}/{lambda}", "outputs", "auto"]) | st.text(
    st.characters()
)
FIELDS = st.sampled_from([*SPEC, "output_name", "labels", "out_dtype", "overwrite", "allow_extrapolation"])
CHANGES = st.dictionaries(
    FIELDS | st.text(max_size=5), JSON_VALUES | TEXTS | st.lists(st.floats() | st.integers(), max_size=5), max_size=4
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(body=CHANGES.map(lambda changes: {**SPEC, **changes}) | JSON_VALUES)
def test_no_body_whatever_is_an_error_of_the_service(deployment, body):
    content = json.dumps(body).encode()
    answer = deployment.client.post("/v1/merges", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (202, 400, 409, 422)
    assert answer.status_code == 202 or answer.json()["blame"] == "user"
