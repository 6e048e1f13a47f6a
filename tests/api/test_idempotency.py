"""`Idempotency-Key`: what was sent can be sent again without thought."""

import pytest

from crossfade_core.job import JobId, JobState, Phase
from crossfade_core.job_store import IdempotentRequest
from crossfade_core.spec import MergeSpec, body_digest
from tests.api.conftest import SPEC

FRESH = {**SPEC, "output_name": "{job}/{lambda}"}
"""Two of these are two jobs."""


def send(deployment, body=FRESH, key="release-7"):
    return deployment.client.post("/v1/merges", json=body, headers={"idempotency-key": key})


def test_same_key_and_body_get_the_same_job(deployment):
    first, again = send(deployment), send(deployment)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert len(deployment.queue.sent) == 1
    assert send(deployment, key="release-8").json()["id"] != first.json()["id"]


def test_body_that_means_the_same_is_the_same(deployment):
    first = send(deployment)
    spelt_out = {**dict(reversed(FRESH.items())), "overwrite": False, "lambdas": [0, 0.5]}
    assert send(deployment, spelt_out).json()["id"] == first.json()["id"]


def test_same_key_stands_for_its_job_whatever_became_of_it(deployment):
    first = send(deployment).json()
    deployment.store.move_job(JobId(first["id"]), JobState.FAILED, phase=Phase.DONE, error=None)
    again = send(deployment)
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (202, first["id"], "FAILED")


def test_another_body_is_refused(deployment):
    send(deployment)
    answer = send(deployment, {**FRESH, "priority": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_request_that_is_still_being_answered_is_a_conflict(deployment):
    request = IdempotentRequest("local", "release-7", body_digest(MergeSpec.model_validate(FRESH)), "other")
    assert deployment.store.begin_request(request) is None
    answer = send(deployment)
    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_flight")


def test_refused_request_can_be_mended_under_its_key(deployment):
    wrong = {**FRESH, "base": "local://models/nothing"}
    assert send(deployment, wrong).json()["code"] == "source_not_found"
    assert send(deployment).status_code == 202


def test_job_that_was_made_before_answers_its_key(deployment):
    first = deployment.submit()
    answer = send(deployment, SPEC)
    assert (answer.json()["id"], answer.json()["reused"]) == (first["id"], True)
    again = send(deployment, SPEC)
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first["id"], "true")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\xe9"])
def test_key_that_is_none_is_refused(deployment, key):
    answer = deployment.client.post("/v1/merges", json=FRESH, headers={"idempotency-key": key.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec")
