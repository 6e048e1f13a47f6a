"""The same spec of the same files is computed once, as long as what came of it stands."""

import hashlib
import json
import shutil

import pytest

from crossfade_core.job import JobState, Phase
from tests.api.conftest import SPEC


def published(deployment, **changes):
    """Submit a job and let its outputs stand at the destination, as the workers would."""
    job = deployment.submit(**changes)
    job_id = deployment.begin(job["id"])
    for position in (0, 1):
        deployment.finish_unit(job_id, position)
    for output in deployment.store.list_outputs(job_id):
        folder = deployment.outputs / output.name
        folder.mkdir()
        (folder / "lineage.json").write_text(json.dumps({"job": job["id"], "lambda": output.lam}))
        files = facts_of(folder)
        deployment.store.publish_output(job_id, output.position, folder.as_uri(), files)
    deployment.store.move_job(job_id, JobState.SUCCEEDED, phase=Phase.DONE)
    deployment.queue.sent.clear()
    return job["id"]


def facts_of(folder):
    return {
        path.name: {"size_bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }


def again(deployment, **changes):
    answer = deployment.client.post("/v1/merges", json={**SPEC, **changes})
    return answer.status_code, answer.json()


def test_same_spec_is_answered_with_the_job_that_has_made_it(deployment):
    job_id = published(deployment)
    status, job = again(deployment)
    assert (status, job["id"], job["reused"], job["state"]) == (200, job_id, True, "SUCCEEDED")
    assert deployment.queue.sent == []
    status, job = again(deployment, priority=5, deadline_seconds=100)
    assert (status, job["id"]) == (200, job_id)
    assert deployment.client.get(job["links"]["self"]).json()["reused"] is False


def test_same_spec_is_answered_with_the_job_that_is_making_it(deployment):
    first = deployment.submit()
    status, job = again(deployment)
    assert (status, job["id"], job["reused"]) == (202, first["id"], True)
    deployment.begin(first["id"])
    status, job = again(deployment)
    assert (status, job["id"], job["state"]) == (202, first["id"], "RUNNING")


def test_fresh_makes_it_again(deployment):
    job_id = published(deployment)
    status, job = again(deployment, fresh=True)
    assert (status, job["code"]) == (409, "output_exists")
    status, job = again(deployment, fresh=True, overwrite=True)
    assert (status, job["reused"]) == (202, False)
    assert job["id"] != job_id


@pytest.mark.parametrize("changes", [{"lambdas": [0.0, 0.25]}, {"labels": {"a": "b"}}, {"seed": 1}])
def test_another_spec_is_another_job(deployment, changes):
    first = deployment.submit()
    status, job = again(deployment, **changes)
    assert (status, job["reused"]) == (202, False)
    assert job["id"] != first["id"]


def test_same_spec_of_other_files_is_another_job(deployment):
    first = deployment.submit()
    (file, *_) = (deployment.models / "instruct").glob("*.safetensors")
    file.write_bytes(file.read_bytes())
    status, job = again(deployment)
    assert (status, job["reused"]) == (202, False)
    assert job["id"] != first["id"]


@pytest.mark.parametrize("harm", ["gone", "other lineage", "shard more", "other size"])
def test_outputs_that_do_not_stand_are_made_again(deployment, harm):
    job_id = published(deployment)
    folder = deployment.outputs / "instruct-pad-0.5"
    lineage = folder / "lineage.json"
    match harm:
        case "gone":
            shutil.rmtree(folder)
        case "other lineage":
            lineage.write_text(lineage.read_text().replace("0.5", "0.7"))
        case "shard more":
            (folder / "model.safetensors").touch()
        case "other size":
            lineage.write_text("{}")
    status, job = again(deployment)
    assert (status, job.get("code")) == (409, "output_exists")
    shutil.rmtree(deployment.outputs / "instruct-pad-0.0")
    shutil.rmtree(folder, ignore_errors=True)
    status, job = again(deployment)
    assert (status, job["reused"]) == (202, False)
    assert job["id"] != job_id


def test_failed_job_is_not_an_answer(deployment):
    first = deployment.submit()
    deployment.store.move_job(first["id"], JobState.FAILED, phase=Phase.DONE, error={"code": "x"})
    status, job = again(deployment)
    assert (status, job["reused"]) == (202, False)
    assert job["id"] != first["id"]
