"""Deciding about outputs over the API: who may, what is answered, what is sent."""

import pytest

from crossfade_core.job import JobId
from crossfade_core.messages import PUBLISH
from tests.api.conftest import SPEC
from tests.api.test_keys import OPERATOR, TOKEN, make_key

DIGEST = "ab" * 32
FILES = {"lineage.json": {"size_bytes": 2, "sha256": DIGEST}}


@pytest.fixture
def waiting(deployment):
    """A job of two outputs that wait."""
    job_id = deployment.begin(deployment.submit()["id"])
    for position in range(2):
        deployment.finish_unit(job_id, position)
        deployment.store.stage_output(job_id, position, FILES)
    deployment.queue.sent.clear()
    return job_id


def path_of(job_id, position, verb):
    return f"/v1/merges/{job_id}/outputs/{position}/{verb}"


def decide(deployment, job_id, position, verb, **asked):
    return deployment.client.post(path_of(job_id, position, verb), json=asked)


def test_a_waiting_output_shows_what_it_is_and_that_nothing_is_decided(deployment, waiting):
    job = deployment.client.get(f"/v1/merges/{waiting}").json()
    (listed,) = deployment.client.get("/v1/merges").json()["items"]
    for position, (shown, brief) in enumerate(zip(job["outputs"], listed["outputs"], strict=True)):
        assert (shown["position"], shown["state"], shown["approval"]) == (position, "STAGED", "PENDING")
        assert (brief["position"], brief["state"], brief["approval"]) == (position, "STAGED", "PENDING")
        assert shown["files"] == [{"name": "lineage.json", "size_bytes": 2, "sha256": DIGEST}]
        assert shown["staged_at"] is not None
        assert (shown["uri"], shown["ended_at"], shown["decided_by"]) == (None, None, None)


def test_approval_is_answered_with_the_job_and_sent_to_be_published(deployment, waiting):
    answer = decide(deployment, waiting, 1, "approve", reason="passes the suite", lineage_sha256=DIGEST)
    assert answer.status_code == 200
    first, second = answer.json()["outputs"]
    assert (first["approval"], second["approval"], second["state"]) == ("PENDING", "APPROVED", "STAGED")
    assert (second["approval_reason"], second["decided_by"]) == ("passes the suite", "local")
    assert second["decided_at"] is not None
    assert deployment.queue.sent == [(PUBLISH, waiting)]


def test_rejection_fails_the_output_with_who_and_why(deployment, waiting):
    output = decide(deployment, waiting, 0, "reject", reason="worse than its base").json()["outputs"][0]
    assert (output["state"], output["approval"]) == ("FAILED", "REJECTED")
    assert output["error"]["code"] == "output_rejected"
    assert output["error"]["message"].endswith("was rejected by local: worse than its base")
    assert deployment.queue.sent == [(PUBLISH, waiting)]


def test_the_same_decision_again_is_answered_alike_and_told_once(deployment, waiting):
    answers = [decide(deployment, waiting, 0, "reject", reason="no") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json()["outputs"] == answers[2].json()["outputs"]
    events = deployment.client.get(f"/v1/merges/{waiting}/events").json()["items"]
    assert [event["type"] for event in events].count("output.rejected") == 1


def test_decision_changes_the_etag(deployment, waiting):
    tag = deployment.client.get(f"/v1/merges/{waiting}").headers["etag"]
    decide(deployment, waiting, 0, "approve")
    assert deployment.client.get(f"/v1/merges/{waiting}", headers={"if-none-match": tag}).status_code == 200


def test_published_output_is_marked_and_nothing_is_sent(deployment):
    job_id = deployment.succeed(deployment.submit()["id"])
    deployment.queue.sent.clear()
    assert decide(deployment, job_id, 0, "approve").json()["outputs"][0]["approval"] == "APPROVED"
    output = decide(deployment, job_id, 0, "reject", reason="found worse").json()["outputs"][0]
    assert (output["state"], output["approval"]) == ("PUBLISHED", "REJECTED")
    assert output["uri"] == "file:///outputs/instruct-pad-0.0"
    assert deployment.queue.sent == []


def test_output_that_is_not_made_has_failed_or_was_cancelled_is_refused(deployment):
    job_id = deployment.begin(deployment.submit()["id"])
    answer = decide(deployment, job_id, 0, "approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert "is not made yet: decide once it is STAGED or PUBLISHED" in answer.json()["detail"]
    deployment.store.fail_output(job_id, 0, {"code": "x", "message": "m", "blame": "user", "retryable": False})
    answer = decide(deployment, job_id, 0, "reject", reason="no")
    assert (answer.status_code, answer.json()["details"]["state"]) == (409, "FAILED")


def test_decision_about_another_content_is_refused(deployment, waiting):
    answer = decide(deployment, waiting, 0, "approve", lineage_sha256="0" * 64)
    assert (answer.status_code, answer.json()["code"]) == (409, "lineage_differs")
    assert deployment.client.get(f"/v1/merges/{waiting}").json()["outputs"][0]["approval"] == "PENDING"


@pytest.mark.parametrize(
    ("position", "verb", "asked", "status", "code"),
    [
        (2, "approve", {}, 404, "output_not_found"),
        (64, "approve", {}, 422, "invalid_spec"),
        ("first", "approve", {}, 422, "invalid_spec"),
        (0, "reject", {}, 422, "invalid_spec"),
        (0, "reject", {"reason": ""}, 422, "invalid_spec"),
        (0, "reject", {"reason": "  "}, 422, "invalid_spec"),
        (0, "reject", {"reason": "x" * 1001}, 422, "invalid_spec"),
        (0, "approve", {"reason": "two\nlines"}, 422, "invalid_spec"),
        (0, "approve", {"reason": "turned \u202e round"}, 422, "invalid_spec"),
        (0, "approve", {"lineage_sha256": "ab"}, 422, "invalid_spec"),
        (0, "approve", {"because": "x"}, 422, "invalid_spec"),
    ],
)
def test_decision_that_makes_no_sense_is_refused(deployment, waiting, position, verb, asked, status, code):
    answer = decide(deployment, waiting, position, verb, **asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert deployment.queue.sent == []


def test_longest_reason_is_kept_as_it_is(deployment, waiting):
    reason = "ä" * 1000
    assert decide(deployment, waiting, 0, "approve", reason=reason).json()["outputs"][0]["approval_reason"] == reason


def test_only_a_key_with_the_scope_that_may_publish_there_decides(deploy, environment):
    environment["destinations"]["outputs"] |= {"users": ["alice", "reviewer"], "requires_approval": True}
    guarded = deploy(api_token=TOKEN, api_host="0.0.0.0")
    alice = make_key(guarded, "alice")
    reviewer = make_key(guarded, "reviewer", scopes=["read", "approve"])
    stranger = make_key(guarded, "stranger", scopes=["read", "approve"])
    job = guarded.client.post("/v1/merges", json=SPEC, headers=alice).json()
    assert job["requires_approval"]
    job_id = guarded.begin(job["id"])
    guarded.store.stage_output(job_id, 0, FILES)
    path = path_of(job_id, 0, "approve")
    refused = [guarded.client.post(path, json={}, headers=who) for who in (alice, stranger)]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [
        (403, "scope_missing"),
        (403, "destination_not_allowed"),
    ]
    assert guarded.client.post(path, json={"reason": "fine"}, headers=reviewer).status_code == 200
    (entry,) = guarded.client.get("/v1/audit", params={"action": "output.approved"}, headers=OPERATOR).json()["items"]
    assert (entry["actor"], entry["subject"]) == ("reviewer", job_id)
    assert entry["data"] == {
        "position": 0,
        "lambda": 0.0,
        "name": "instruct-pad-0.0",
        "lineage_sha256": DIGEST,
        "reason": "fine",
        "by": "reviewer",
    }
    answer = guarded.client.post(path_of(job_id, 0, "reject"), json={"reason": "no"}, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert guarded.store.get_job(JobId(job_id)).state == "RUNNING"


@pytest.mark.parametrize("requires_approval", [False, True])
def test_plan_and_submission_say_whether_the_destination_requires_approval(deploy, environment, requires_approval):
    environment["destinations"]["outputs"]["requires_approval"] = requires_approval
    deployment = deploy()
    assert deployment.client.post("/v1/plans", json=SPEC).json()["requires_approval"] is requires_approval
    job = deployment.submit()
    assert job["requires_approval"] is requires_approval
    assert deployment.client.get(job["links"]["self"]).json()["requires_approval"] is requires_approval
