"""On real processes: what a key may have under way, and how long a job may take."""

from pathlib import Path

import pytest

from crossfade_core.job import JobId, JobState
from tests.fakes.checkpoints import random_pair
from tests.system.fleet import START_SECONDS, Fleet
from tests.system.serving import wait_for

pytestmark = pytest.mark.slow

SPEC = {
    "base": "local://models/base",
    "instruct": "local://models/instruct",
    "lambdas": [0.5],
    "destination": "outputs",
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    random_pair(folder)
    return folder


@pytest.fixture
def fleet(models, tmp_path, postgres_url, redis_url):
    home = tmp_path / "service"
    home.mkdir()
    with Fleet(home, models, (postgres_url, redis_url)) as fleet:
        yield fleet


def test_key_with_a_full_queue_waits_for_its_own_jobs_and_others_do_not_wait_for_it(fleet):
    with fleet.api() as client:
        secret = client.post("/v1/keys", json={"name": "eager", "max_jobs": 1}).raise_for_status().json()["secret"]
        eager = {"authorization": f"Bearer {secret}"}

        def submit(name: str, headers: dict[str, str] | None = None) -> tuple[int, dict]:
            answer = client.post("/v1/merges", json={**SPEC, "output_name": name + "-{lambda}"}, headers=headers)
            return answer.status_code, answer.json()

        status, first = submit("first", eager)
        assert (status, first["submitted_by"]) == (202, "eager")
        status, refused = submit("second", eager)
        assert (status, refused["code"]) == (429, "queue_limit_reached")
        assert submit("other")[0] == 202
        fleet.start("control")
        fleet.start("merge")
        assert fleet.ended(JobId(first["id"])).state is JobState.SUCCEEDED
        assert submit("second", eager)[0] == 202


def test_job_that_nobody_works_on_fails_at_its_deadline_and_a_retry_has_as_long_again(fleet):
    fleet.start("control")
    with fleet.api() as client:
        job = client.post("/v1/merges", json={**SPEC, "deadline_seconds": 25}).raise_for_status().json()
        failed = fleet.ended(JobId(job["id"]), START_SECONDS)
        assert (failed.state, (failed.error or {})["code"]) == (JobState.FAILED, "deadline_exceeded")
        fleet.start("merge")
        assert fleet.ended(fleet.submit(output_name="up-{lambda}"), START_SECONDS).state is JobState.SUCCEEDED
        wait_for(lambda: client.post(job["links"]["retry"]).status_code == 202, 30)
        wait_for(lambda: fleet.store.get_job(JobId(job["id"])).state is JobState.SUCCEEDED, START_SECONDS)
