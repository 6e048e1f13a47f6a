"""Showing, listing and cancelling jobs."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from crossfade_api.dependencies import Adapters
from crossfade_api.steering import cancel_job
from crossfade_api.views import JobView, ProgressView
from crossfade_core.errors import IllegalTransition
from crossfade_core.job import PRIVATE, Job, JobId, JobState, Phase, Progress
from crossfade_core.keys import LOCAL
from crossfade_core.spec import MergeSpec
from tests.api.conftest import PLAN_SUMMARY, SPEC

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(state: JobState, **changes) -> Job:
    times = {"created_at": START, "updated_at": START}
    return Job(JobId("j"), state, Phase.MERGING, MergeSpec.model_validate(SPEC), "sha256:0", **{**times, **changes})


def test_a_finished_job_shows_plan_files_and_digests(deployment):
    job_id = deployment.succeed(deployment.submit()["id"])
    job = deployment.client.get(f"/v1/merges/{job_id}").json()
    assert (job["state"], job["phase"], job["plan"]) == ("SUCCEEDED", "done", PLAN_SUMMARY)
    assert job["started_at"] <= job["finished_at"]
    assert job["spec"]["lambdas"] == [0.0, 0.5]
    output = job["outputs"][1]
    assert output["size_bytes"] == 500
    assert output["uri"] == "file:///outputs/instruct-pad-0.5"
    assert output["files"] == [{"name": "model.safetensors", "size_bytes": 500, "sha256": "ab" * 32}]
    assert job["progress"]["units_done"] == job["progress"]["units_total"] == 2


def test_a_published_output_shows_what_its_lambda_really_did_and_warns(deployment):
    job_id = JobId(deployment.submit()["id"])
    figures = {
        "method": "exact",
        "requested": 0.5,
        "realised": 0.4,
        "relative_delta_norm": None,
        "unchanged_share": 0.25,
        "rounding_error": 0.1,
        "base_non_finite": [0, 0],
        "instruct_non_finite": [1, 2],
        "overflowed": 0,
    }
    statistics = {**figures, "warnings": ["λ = 0.5 was realised as 0.4"]}
    deployment.store.publish_output(job_id, 1, "file:///x", {}, statistics=statistics)
    first, second = deployment.client.get(f"/v1/merges/{job_id}").json()["outputs"]
    assert (first["figures"], first["warnings"]) == (None, [])
    assert (second["figures"], second["warnings"]) == (figures, ["λ = 0.5 was realised as 0.4"])


def test_a_failed_job_shows_its_error_record(deployment):
    job_id = JobId(deployment.submit()["id"])
    record = {"code": "short_read", "message": "m", "blame": "upstream", "retryable": True, "details": {"file": "f"}}
    deployment.store.move_job(job_id, JobState.FAILED, phase=Phase.DONE, error=record)
    assert deployment.client.get(f"/v1/merges/{job_id}").json()["error"] == record


def test_rate_is_the_average_since_merging_began_and_eta_follows():
    job = a_job(JobState.RUNNING, merging_at=START)
    view = ProgressView.of(job, Progress(100, 400, 0, 2), START + timedelta(seconds=10))
    assert (view.rate_bytes_per_second, view.eta_seconds) == (10.0, 30.0)


def test_rate_and_eta_are_null_before_there_is_anything_to_tell():
    for job, done in ((a_job(JobState.QUEUED), 0), (a_job(JobState.RUNNING, merging_at=START), 0)):
        view = ProgressView.of(job, Progress(done, 400, 0, 2), START + timedelta(seconds=10))
        assert (view.rate_bytes_per_second, view.eta_seconds) == (None, None)


def test_an_ended_job_keeps_its_rate_and_has_no_eta():
    job = a_job(JobState.SUCCEEDED, merging_at=START, finished_at=START + timedelta(seconds=10))
    view = ProgressView.of(job, Progress(400, 400, 2, 2), START + timedelta(days=1))
    assert (view.rate_bytes_per_second, view.eta_seconds) == (40.0, None)


def test_a_plan_summary_may_say_more_than_this_version_knows():
    job = a_job(JobState.RUNNING, plan_summary={**PLAN_SUMMARY, "digest": "sha256:1"})
    view = JobView.of(job, [], Progress(0, 0, 0, 0), START)
    assert view.model_dump()["plan"]["digest"] == "sha256:1"


def test_what_workers_keep_with_a_plan_is_shown_to_nobody():
    job = a_job(JobState.RUNNING, plan_summary={**PLAN_SUMMARY, PRIVATE: {"index": "{}"}})
    assert JobView.of(job, [], Progress(0, 0, 0, 0), START).model_dump()["plan"] == PLAN_SUMMARY


def test_pages_hold_every_job_once_newest_first(deployment):
    ids = [deployment.submit(output_name=f"{n}-{{lambda}}")["id"] for n in range(5)]
    seen, token = [], None
    while True:
        page = deployment.client.get("/v1/merges", params={"limit": 2, **({"page": token} if token else {})}).json()
        seen += [job["id"] for job in page["items"]]
        token = page["next"]
        if token is None:
            break
        assert all(job_id not in token for job_id in ids)
    assert seen == ids[::-1]


@pytest.mark.parametrize("query", ["state=RUNNING", "destination=outputs", "label=a=b"])
def test_a_page_token_is_of_one_list_only(deployment, query):
    for n in range(2):
        deployment.submit(output_name=f"{n}-{{lambda}}")
    token = deployment.client.get("/v1/merges?limit=1").json()["next"]
    assert deployment.client.get(f"/v1/merges?limit=2&page={token}").status_code == 200
    answer = deployment.client.get(f"/v1/merges?{query}&page={token}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "query/page")


@pytest.mark.parametrize("token", ["x", "bnVsbA", "W10", "WzEsMl0", "job-1", "_-_-", "Inhpc28i", "WyJ4IiwiYSJd"])
def test_a_page_token_that_no_list_gave_out_is_pointed_at(deployment, token):
    answer = deployment.client.get(f"/v1/merges?page={token}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "query/page")


def test_a_long_page_asks_the_database_no_more_often_than_a_short_one(deployment):
    for number in range(12):
        deployment.submit(lambdas=[number / 100])
    asked = []

    def count(connection, cursor, statement, *_):
        asked[-1] += 1

    event.listen(Engine, "before_cursor_execute", count)
    try:
        for limit in (2, 10):
            asked.append(0)
            items = deployment.client.get("/v1/merges", params={"limit": limit}).json()["items"]
            assert len(items) == limit
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert asked[0] == asked[1] > 0


def test_a_list_by_state_holds_only_that_state(deployment):
    done = deployment.succeed(deployment.submit()["id"])
    waiting = deployment.submit()["id"]
    for state, job_id in (("SUCCEEDED", done), ("QUEUED", waiting)):
        assert [job["id"] for job in deployment.client.get(f"/v1/merges?state={state}").json()["items"]] == [job_id]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "state=X", "page=a%00b", "label=a", "base=b"])
def test_a_senseless_query_is_pointed_at(deployment, query):
    answer = deployment.client.get(f"/v1/merges?{query}")
    assert answer.status_code == 422
    (field,) = answer.json()["errors"]
    assert field["pointer"] == "query/" + query.split("=")[0]
    assert "Value error" not in field["message"]


@pytest.mark.parametrize("id", ["0190b5a0-0000-7000-8000-000000000000", "a%00b", "x" * 500, "%F0%9F%92%A5", "a b"])
@pytest.mark.parametrize("what", ["", "/events", "/cancel"])
def test_an_unknown_job_is_not_found(deployment, id, what):
    call = deployment.client.post if what == "/cancel" else deployment.client.get
    answer = call(f"/v1/merges/{id}{what}")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_cancelling_a_queued_job_ends_it_at_once(deployment):
    job = deployment.submit()
    answer = deployment.client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["state"]) == (202, "CANCELLED")
    assert {output["state"] for output in answer.json()["outputs"]} == {"CANCELLED"}
    assert deployment.queue.sent == [("merge.plan", job["id"])]


def test_cancelling_a_running_job_asks_the_publish_task_to_settle_it_once(deployment):
    job = deployment.submit()
    deployment.begin(job["id"])
    for _ in range(2):
        answer = deployment.client.post(job["links"]["cancel"])
        assert (answer.status_code, answer.json()["state"]) == (202, "CANCELLING")
    assert deployment.queue.sent[1:] == [("merge.publish", job["id"])]


def test_a_cancel_is_stored_although_the_broker_is_away(deployment):
    job = deployment.submit()
    deployment.begin(job["id"])
    deployment.queue.away = True
    assert deployment.client.post(job["links"]["cancel"]).json()["state"] == "CANCELLING"


def test_an_ended_job_refuses_the_cancel(deployment):
    job = deployment.submit()
    deployment.succeed(job["id"])
    answer = deployment.client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")


def test_a_cancel_that_a_worker_overtakes_goes_by_the_new_state(deployment):
    adapters: Adapters = deployment.client.app.state.adapters
    queued = deployment.store.get_job(JobId(deployment.submit()["id"]))
    deployment.begin(queued.id)
    running = deployment.store.get_job(queued.id)
    assert cancel_job(queued, LOCAL, adapters).state is JobState.CANCELLING
    assert cancel_job(running, LOCAL, adapters).state is JobState.CANCELLING
    deployment.store.move_job(queued.id, JobState.CANCELLED, phase=Phase.DONE)
    with pytest.raises(IllegalTransition):
        cancel_job(queued, LOCAL, adapters)


def test_jobs_are_listed_by_what_they_are_of(deployment):
    first = deployment.submit(labels={"team": "eval", "run": "7"})
    second = deployment.submit(labels={"team": "eval"}, output_name="other-{lambda}")

    def listed(**params):
        return [job["id"] for job in deployment.client.get("/v1/merges", params=params).json()["items"]]

    assert listed(label="team=eval") == [second["id"], first["id"]]
    assert listed(label=["team=eval", "run=7"]) == [first["id"]]
    assert listed(base="local://models/base/", destination="outputs") == [second["id"], first["id"]]
    assert listed(instruct="local://models/base") == listed(submitted_by="nobody") == []
    for wrong in ({"label": "team"}, {"base": "models/base"}):
        assert deployment.client.get("/v1/merges", params=wrong).status_code == 422


def test_job_that_has_not_changed_is_answered_without_a_body(deployment):
    job = deployment.submit()
    path = job["links"]["self"]
    tag = deployment.client.get(path).headers["etag"]
    same = deployment.client.get(path, headers={"if-none-match": f'"x", {tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    job_id = deployment.begin(job["id"])
    tags = {tag, deployment.client.get(path, headers={"if-none-match": tag}).headers["etag"]}
    unit = deployment.store.list_units(job_id)[0]
    claimed = deployment.store.claim_unit(unit.id, "test", 60)
    tags.add(deployment.client.get(path).headers["etag"])
    deployment.store.renew_lease(unit.id, claimed.fence, 60, 100)
    tags.add(deployment.client.get(path).headers["etag"])
    assert len(tags) == 4
