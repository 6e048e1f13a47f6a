"""POST /v1/merges: what is accepted, what is refused before any work, and that refusals leave no trace."""

import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from structlog.testing import capture_logs

from tests.api.conftest import SPEC, Deployment
from tests.fakes.checkpoints import encode_file, random_pair, write_checkpoint


def assert_refused(deployment: Deployment, body: dict, status: int, code: str) -> dict:
    answer = deployment.client.post("/v1/merges", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"/problems/{code}"
    assert deployment.client.get("/v1/merges").json() == {"items": [], "next": None}
    assert deployment.queue.sent == []
    assert list(deployment.outputs.iterdir()) == []
    return problem


def test_an_accepted_job_is_stored_sent_and_shown(deployment):
    answer = deployment.client.post("/v1/merges", json=SPEC)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/merges/{job['id']}"
    assert (job["state"], job["phase"], job["plan"], job["error"]) == ("QUEUED", "waiting", None, None)
    assert [(output["lambda"], output["name"]) for output in job["outputs"]] == [
        (0.0, "instruct-pad-0.0"),
        (0.5, "instruct-pad-0.5"),
    ]
    assert deployment.queue.sent == [("merge.plan", job["id"])]
    assert deployment.client.get(job["links"]["self"]).json() == job


def test_a_broker_that_is_away_costs_a_warning_and_not_the_job(deployment):
    deployment.queue.away = True
    with capture_logs() as logs:
        job = deployment.submit()
    assert deployment.client.get(job["links"]["self"]).json()["state"] == "QUEUED"
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["queue.unavailable"]


def test_a_missing_source_is_named(deployment):
    problem = assert_refused(deployment, {**SPEC, "base": "local://models/absent"}, 422, "source_not_found")
    assert "local://models/absent" in problem["detail"]


def test_an_unknown_root_and_an_unknown_destination_are_refused(deployment):
    assert_refused(deployment, {**SPEC, "base": "local://elsewhere/base"}, 422, "unknown_root")
    assert_refused(deployment, {**SPEC, "destination": "elsewhere"}, 422, "unknown_destination")


def test_a_link_out_of_the_root_is_refused(deployment, tmp_path):
    outside = random_pair(tmp_path / "outside").base
    (deployment.models / "link").symlink_to(outside)
    assert_refused(deployment, {**SPEC, "base": "local://models/link"}, 422, "path_outside_root")


def test_a_corrupt_shard_is_refused_with_its_file(deployment):
    shard = next(iter(sorted((deployment.models / "instruct").glob("*.safetensors"))))
    shard.write_bytes(shard.read_bytes()[:-1])
    problem = assert_refused(deployment, SPEC, 422, "data_truncated")
    assert problem["details"]["file"] == shard.name
    assert problem["details"]["source"] == "local://models/instruct"


def test_mismatched_shapes_are_refused_with_tensor_and_reason(deployment):
    write_checkpoint(deployment.models / "a", {"w": ("F32", (2,), bytes(8))})
    write_checkpoint(deployment.models / "b", {"w": ("F32", (3,), bytes(12))})
    body = {**SPEC, "base": "local://models/a", "instruct": "local://models/b"}
    problem = assert_refused(deployment, body, 422, "plan_refused")
    (refusal,) = problem["details"]["refusals"]
    assert refusal["tensor"] == "w"
    assert "shape [2] in base" in refusal["reason"]
    assert problem["blame"] == "user"


def test_a_file_whose_name_is_no_text_is_a_refusal_and_no_crash(deployment):
    folder = deployment.models / "odd"
    folder.mkdir()
    (folder / "w\udc80.safetensors").write_bytes(encode_file({"w": ("F32", (), bytes(4))}))
    assert_refused(deployment, {**SPEC, "base": "local://models/odd"}, 422, "no_checkpoint")


def test_an_output_that_would_meet_something_is_a_conflict(deployment):
    taken = deployment.outputs / "instruct-pad-0.5"
    taken.mkdir()
    answer = deployment.client.post("/v1/merges", json=SPEC)
    assert (answer.status_code, answer.json()["code"]) == (409, "output_exists")
    assert deployment.queue.sent == []
    (taken / "lineage.json").touch()
    assert deployment.submit(overwrite=True)["state"] == "QUEUED"


def test_the_job_field_in_a_name_keeps_two_jobs_apart(deployment):
    first, second = (deployment.submit(output_name="{job}/{lambda}") for _ in range(2))
    assert first["outputs"][0]["name"] == f"{first['id']}/0.0"
    assert first["outputs"][0]["name"] != second["outputs"][0]["name"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"lambdas": [0.5, 1.5]}, "#"),
        ({"lambdas": [0.5, "high"]}, "#/lambdas/1"),
        ({"lambdas": []}, "#/lambdas"),
        ({"base": "file:///etc/passwd"}, "#/base"),
        ({"base": "local://models/../etc"}, "#/base"),
        ({"output_name": "../{lambda}"}, "#/output_name"),
        ({"surprise/~": 1}, "#/surprise~1~0"),
        ({"labels": {"a": 1}}, "#/labels/a"),
        ({'a/b~c d"é%': 1}, "#/a~1b~0c%20d%22%C3%A9%25"),
        ({"instruct": 5}, "#/instruct"),
        ({"instruct": "nowhere"}, "#/instruct"),
        ({"instruct": {"delta_of": ["local://models/a"]}}, "#/instruct/delta_of/1"),
        ({"instruct": {"delta_of": ["local://models/a", "b"], "chain": 1}}, "#/instruct/delta_of/1 #/instruct/chain"),
        ({"instruct": {"delta_of": [SPEC["base"]] * 2, "skip": [""]}}, "#/instruct/skip/0"),
        ({"schedule": [3]}, "#/schedule/0"),
        ({"schedule": [{"pattern": "*"}]}, "#/schedule/0"),
        ({"schedule": [{"pattern": "*", "factor": "x"}]}, "#/schedule/0/factor"),
        ({"schedule": [{"pattern": "*", "gradient": [1, 0, "x"]}]}, "#/schedule/0/gradient/2"),
        ({"policies": {"tokens": "maybe"}}, "#/policies/tokens"),
        ({"policies": {"tokes": "ignore"}}, "#/policies/tokes"),
    ],
)
def test_a_wrong_field_is_pointed_at(deployment, change, pointer):
    problem = assert_refused(deployment, {**SPEC, **change}, 422, "invalid_spec")
    assert " ".join(field["pointer"] for field in problem["errors"]) == pointer
    assert problem["errors"][0]["message"] in problem["detail"]


@pytest.mark.parametrize("wrong", [{"lambdas": {}}, {"labels": []}, {"schedule": [[]]}])
def test_what_is_expected_is_said_in_words_of_json(deployment, wrong):
    (field,) = assert_refused(deployment, {**SPEC, **wrong}, 422, "invalid_spec")["errors"]
    assert re.fullmatch("a JSON (object|array) is expected", field["message"])


def test_a_pointer_leads_to_the_place_it_names(deployment):
    body = {**SPEC, "schedule": [{"pattern": "a", "factor": 1, 'un/~ "usual"': 1}]}
    (field,) = assert_refused(deployment, body, 422, "invalid_spec")["errors"]
    place = body
    for part in unquote(field["pointer"]).removeprefix("#/").split("/"):  # RFC 6901, sections 4 and 6
        place = place[int(part) if isinstance(place, list) else part.replace("~1", "/").replace("~0", "~")]
    assert place == 1
    assert "usual" in field["pointer"]


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"{", "application/json", "no JSON: "),
        (b"", "application/json", "a JSON object is expected"),
        (b"[]", "application/json", "a JSON object is expected"),
        (json.dumps(SPEC).encode(), "text/plain", "sent as Content-Type: application/json"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_so(deployment, body, content_type, message):
    answer = deployment.client.post("/v1/merges", content=body, headers={"content-type": content_type})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "#"
    assert message in error["message"]


def write_hole(folder: Path, elements: int) -> None:
    """Write a checkpoint of one tensor that takes no room."""
    folder.mkdir()
    header = {"weight": {"dtype": "F32", "shape": [elements], "data_offsets": [0, elements * 4]}}
    text = json.dumps(header).encode()
    file = folder / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(file, 8 + len(text) + elements * 4)


def test_a_job_for_whose_shards_the_scratch_has_no_room_is_refused_with_both_figures(deploy, environment, tmp_path):
    hub = {"kind": "hub", "namespace": "acme", "endpoint": "http://127.0.0.1:1", "credential": "hub"}
    deployment = deploy(
        destinations={**environment["destinations"], "sweeps": hub},
        credentials={"hub": {"token": "hf_s3cr3t"}},
        units_at_once=1024,
        scratch=str(tmp_path),
    )
    elements = 2 * shutil.disk_usage(tmp_path).free // (1024 * 64 * 4)  # room may be made meanwhile
    for side in ("base", "instruct"):
        shutil.rmtree(deployment.models / side)
        write_hole(deployment.models / side, elements)
    body = {**SPEC, "destination": "sweeps", "lambdas": [number / 64 for number in range(64)]}
    problem = assert_refused(deployment, body, 507, "scratch_too_small")
    assert problem["details"]["needed_bytes"] > problem["details"]["free_bytes"]
    assert "hf_s3cr3t" not in json.dumps(problem)
