"""POST /v1/plans: what a submission would do and meet, told without a trace."""

import json
import shutil

import pytest

from crossfade_api.plan_views import MAX_NAMED_EXCEPTIONS
from crossfade_api.planning import MAX_NAMED_REFUSALS
from tests.api.conftest import SPEC, Deployment
from tests.api.test_reuse import published
from tests.fakes.checkpoints import LLAMA_SIZES, write_checkpoint

TOKEN = "correct-horse"


def plan(deployment: Deployment, **changes) -> dict:
    """Ask for a plan, and hold that it leaves nothing behind."""
    jobs, names = deployment.client.get("/v1/merges").json(), sorted(deployment.outputs.iterdir())
    answer = deployment.client.post("/v1/plans", json={**SPEC, **changes})
    assert answer.status_code == 200, answer.text
    assert deployment.client.get("/v1/merges").json() == jobs
    assert deployment.queue.sent == []
    assert sorted(deployment.outputs.iterdir()) == names
    return answer.json()


def codes(report: dict) -> list[str]:
    assert report["accepted"] == (report["obstacles"] == [])
    return [obstacle["code"] for obstacle in report["obstacles"]]


def checkpoints(deployment: Deployment, base: dict, instruct: dict) -> dict[str, str]:
    for name, tensors in (("a", base), ("b", instruct)):
        write_checkpoint(deployment.models / name, tensors)
    return {"base": "local://models/a", "instruct": "local://models/b"}


def test_plan_of_what_would_be_accepted_has_its_numbers_and_no_obstacles(deployment):
    report = plan(deployment)
    elements = sum(rows * (columns[0] if columns else 1) for rows, *columns in LLAMA_SIZES.values())
    assert codes(report) == []
    assert report["job"] is None
    assert report["sources"] == {"base": SPEC["base"], "instruct": SPEC["instruct"]}
    assert report["tensors"] == len(LLAMA_SIZES)
    assert report["actions"] == {"interpolate": len(LLAMA_SIZES)}
    assert report["out_dtypes"] == {"BF16": len(LLAMA_SIZES)}
    assert report["read_bytes"] == 2 * 2 * elements
    assert report["write_bytes_per_output"] == sum(shard["size_bytes"] for shard in report["shards"])
    assert report["write_bytes"] == 2 * report["write_bytes_per_output"]
    assert report["outputs"] == [
        {"lambda": 0.0, "name": "instruct-pad-0.0"},
        {"lambda": 0.5, "name": "instruct-pad-0.5"},
    ]
    assert (report["exceptions"], report["exception_count"]) == ([], 0)
    assert (report["scratch_bytes"], report["estimate"]) == (0, None)
    job = deployment.submit()
    assert report["spec_digest"] == job["spec_digest"]


def test_name_of_an_output_keeps_the_jobs_place_free(deployment):
    report = plan(deployment, output_name="{job}/{lambda}")
    assert [output["name"] for output in report["outputs"]] == ["{job}/0.0", "{job}/0.5"]


def test_rows_that_are_not_plain_and_changes_of_the_config_are_told(deployment):
    base = {"w": ("BF16", (2,), bytes(4)), "only": ("F32", (1,), bytes(4))}
    sides = checkpoints(deployment, base, {"w": ("BF16", (2,), bytes(4))})
    (deployment.models / "b/config.json").write_text('{"model_type": "llama", "torch_dtype": "bfloat16"}')
    report = plan(deployment, **sides, policies={"one_sided": "copy"}, out_dtype="float32")
    (exception,) = report["exceptions"]
    assert (exception["tensor"], exception["action"], report["exception_count"]) == ("only", "copy_base", 1)
    assert "float32" in report["config_changes"].values()
    assert codes(report) == []


def test_every_refused_tensor_is_named_up_to_a_bound_and_all_are_counted(deployment):
    many = {f"w{number}": ("F32", (2,), bytes(8)) for number in range(MAX_NAMED_REFUSALS + 7)}
    others = {name: ("F32", (3,), bytes(12)) for name in many}
    one = {"same": ("F32", (1,), bytes(4))}
    report = plan(deployment, **checkpoints(deployment, many | one, others | one))
    assert codes(report) == ["plan_refused"]
    details = report["obstacles"][0]["details"]
    assert (len(details["refusals"]), details["count"]) == (MAX_NAMED_REFUSALS, MAX_NAMED_REFUSALS + 7)
    assert (len(report["exceptions"]), report["exception_count"]) == (MAX_NAMED_EXCEPTIONS, MAX_NAMED_REFUSALS + 7)
    assert report["actions"] == {"interpolate": 1}


def test_every_output_that_exists_is_named(deployment):
    for lam in ("0.0", "0.5"):
        (deployment.outputs / f"instruct-pad-{lam}").mkdir()
    report = plan(deployment, lambdas=[0.0, 0.25, 0.5])
    assert codes(report) == ["output_exists", "output_exists"]
    named = [obstacle["details"]["output"] for obstacle in report["obstacles"]]
    assert named == ["instruct-pad-0.0", "instruct-pad-0.5"]


def test_all_that_stands_against_a_submission_is_told_at_once(deployment):
    (deployment.outputs / "b-pad-0.0").symlink_to(deployment.models)
    (deployment.outputs / "b-pad-0.5").mkdir()
    sides = checkpoints(deployment, {"w": ("F32", (2,), bytes(8))}, {"w": ("F32", (3,), bytes(12))})
    assert codes(plan(deployment, **sides, overwrite=True)) == ["plan_refused", *["output_name_unsafe"] * 2]


def test_scratch_is_priced_and_a_destination_that_is_away_is_an_obstacle_to_retry(deploy, environment, tmp_path):
    hub = {"kind": "hub", "namespace": "acme", "endpoint": "http://127.0.0.1:1", "credential": "hub"}
    deployment = deploy(
        destinations={**environment["destinations"], "sweeps": hub},
        credentials={"hub": {"token": "hf_s3cr3t"}},
        units_at_once=1024,
        patience_seconds=0.01,
        scratch=str(tmp_path),
    )
    report = plan(deployment, destination="sweeps")
    largest = max(shard["size_bytes"] for shard in report["shards"])
    assert report["scratch_bytes"] == 1024 * 2 * largest
    assert codes(report) == ["sink_unavailable", "sink_unavailable"]
    assert report["obstacles"][0]["retryable"]
    assert "hf_s3cr3t" not in json.dumps(report)


def test_unknown_destination_is_an_obstacle_and_what_it_needs_is_not_known(deployment):
    report = plan(deployment, destination="elsewhere")
    assert (codes(report), report["scratch_bytes"]) == (["unknown_destination"], None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"base": "local://models/absent"}, "source_not_found"),
        ({"base": "local://elsewhere/base"}, "unknown_root"),
        ({"schedule": [{"pattern": "nothing*", "factor": 1}]}, "schedule_refused"),
        ({"lambdas": []}, "invalid_spec"),
    ],
)
def test_where_nothing_can_be_planned_the_problem_is_a_submissions(deployment, change, code):
    answers = [deployment.client.post(f"/v1/{what}", json={**SPEC, **change}) for what in ("plans", "merges")]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, code)] * 2
    assert answers[0].json() == answers[1].json()


def test_malformed_shard_is_a_problem_with_its_file(deployment):
    shard = min((deployment.models / "instruct").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    problem = deployment.client.post("/v1/plans", json=SPEC).json()
    assert (problem["code"], problem["details"]["file"]) == ("data_truncated", shard.name)


def test_job_that_makes_the_same_is_named_and_its_outputs_are_no_obstacle(deployment):
    job_id = published(deployment)
    report = plan(deployment)
    assert (codes(report), report["job"]) == ([], job_id)
    assert codes(plan(deployment, fresh=True)) == ["output_exists"] * 2
    shutil.rmtree(deployment.outputs / "instruct-pad-0.5")
    report = plan(deployment)
    assert (codes(report), report["job"]) == (["output_exists"], None)


def test_estimate_is_what_jobs_before_have_measured(deployment):
    deployment.succeed(deployment.submit(lambdas=[0.25])["id"])
    deployment.queue.sent.clear()
    report = plan(deployment)
    estimate, throughput = report["estimate"], deployment.store.throughput("outputs")
    assert estimate["measured_jobs"] == throughput.jobs == 1
    assert estimate["rate_bytes_per_second"] == pytest.approx(1000 / throughput.seconds)
    assert estimate["seconds"] == pytest.approx(report["write_bytes"] * throughput.seconds / 1000)


def test_second_plan_and_the_submission_open_no_header(deployment, monkeypatch):
    first, opened = plan(deployment), []
    monkeypatch.setattr(
        "crossfade_registries.local.source.LocalSource.read_into", lambda *asked: opened.append(asked[1])
    )
    assert plan(deployment) == first
    deployment.submit()
    assert opened == []


def test_submission_sees_what_changed_since_the_plan(deployment):
    assert codes(plan(deployment)) == []
    for shard in (deployment.models / "instruct").glob("*"):
        shard.unlink()
    write_checkpoint(deployment.models / "instruct", {"w": ("F32", (3,), bytes(12))})
    answer = deployment.client.post("/v1/merges", json=SPEC)
    assert (answer.status_code, answer.json()["code"]) == (422, "plan_refused")


@pytest.fixture
def guarded(deploy, environment, tmp_path) -> Deployment:
    """A server with keys; `private` is a destination of the key `bob` alone."""
    private = {"kind": "local", "path": str(tmp_path / "outputs"), "users": ["bob"]}
    return deploy(api_token=TOKEN, api_host="0.0.0.0", destinations={**environment["destinations"], "private": private})


def key(deployment: Deployment, **fields) -> dict[str, str]:
    operator = {"authorization": f"Bearer {TOKEN}"}
    answer = deployment.client.post("/v1/keys", json={"name": "alice", **fields}, headers=operator)
    return {"authorization": f"Bearer {answer.json()['secret']}"}


def test_plan_needs_the_right_to_submit(guarded):
    assert guarded.client.post("/v1/plans", json=SPEC).status_code == 401
    answer = guarded.client.post("/v1/plans", json=SPEC, headers=key(guarded, scopes=["read"]))
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


def test_destination_of_others_is_refused_before_a_source_is_opened(guarded):
    body = {**SPEC, "destination": "private", "base": "local://models/absent"}
    answer = guarded.client.post("/v1/plans", json=body, headers=key(guarded))
    assert (answer.status_code, answer.json()["code"]) == (403, "destination_not_allowed")


def test_full_queue_of_the_key_is_an_obstacle(guarded):
    alice = key(guarded, max_jobs=1)
    asked = {"headers": alice, "json": {**SPEC, "lambdas": [0.75]}}
    assert codes(guarded.client.post("/v1/plans", **asked).json()) == []
    assert guarded.client.post("/v1/merges", **asked).status_code == 202
    assert codes(guarded.client.post("/v1/plans", json=SPEC, headers=alice).json()) == ["queue_limit_reached"]
    assert codes(guarded.client.post("/v1/plans", **asked).json()) == []  # it would be answered with its job
