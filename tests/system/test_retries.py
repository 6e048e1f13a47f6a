"""On real processes: a failed job goes on where it was, and what is submitted many times is made once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossfade_core.job import JobId, JobState
from tests.bench.make_pair import make_pair
from tests.system.fleet import Fleet
from tests.system.serving import wait_for

pytestmark = pytest.mark.slow

PAIR_BYTES = 120_000_000
SHARD_BYTES = 10_000_000
LAMBDAS = [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    make_pair(folder, PAIR_BYTES, SHARD_BYTES)
    return folder


@pytest.fixture
def fleet(models, tmp_path, postgres_url, redis_url):
    home = tmp_path / "service"
    home.mkdir()
    with Fleet(home, models, (postgres_url, redis_url)) as fleet:
        fleet.start("control")
        fleet.start("merge")
        yield fleet


def spec(**fields):
    sides = {"base": "local://models/base", "instruct": "local://models/instruct"}
    return {**sides, "lambdas": LAMBDAS, "destination": "outputs", **fields}


def test_job_whose_source_was_away_goes_on_with_the_units_it_has(fleet, models):
    with fleet.api() as client:
        job = client.post("/v1/merges", json=spec()).raise_for_status().json()
        job_id = JobId(job["id"])
        wait_for(lambda: len(fleet.events(job_id, "unit.done")) >= 2, 60)
        away = models / "instruct"
        away.rename(models / "elsewhere")
        failed = fleet.ended(job_id)
        assert (failed.state, (failed.error or {})["code"]) == (JobState.FAILED, "source_not_found")
        done = {event.data["position"] for event in fleet.events(job_id, "unit.done")}
        (models / "elsewhere").rename(away)
        # A worker may be looking at what the job left: then the answer is to ask again.
        retried = wait_for(lambda: (told := client.post(job["links"]["retry"])).status_code == 202 and told.json(), 30)
        assert (retried["id"], retried["progress"]["units_done"]) == (job_id, len(done))
        wait_for(lambda: fleet.store.get_job(job_id).state is JobState.SUCCEEDED, 120)
    units = fleet.store.list_units(job_id)
    assert {unit.position for unit in units if unit.position in done and unit.fence != 1} == set()
    assert sorted(event.data["position"] for event in fleet.events(job_id, "unit.done")) == list(range(len(units)))


def test_what_is_submitted_many_times_at_once_is_made_once(fleet):
    with fleet.api() as client:

        def submit(_: int) -> tuple[int, str, bool]:
            answer = client.post("/v1/merges", json=spec())
            return answer.status_code, answer.json()["id"], answer.json()["reused"]

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(submit, range(12)))
        assert {status for status, _, _ in answers} == {202}
        (job_id,) = {job_id for _, job_id, _ in answers}
        assert [reused for _, _, reused in answers].count(False) == 1
        assert fleet.ended(JobId(job_id)).state is JobState.SUCCEEDED
        assert submit(0) == (200, job_id, True)
        begun = len(fleet.events(JobId(job_id), "unit.started"))
        assert begun == len(fleet.store.list_units(JobId(job_id)))
        (shard, *_) = (fleet.outputs / "instruct-pad-0.5").glob("*.safetensors")
        shard.unlink()
        answer = client.post("/v1/merges", json=spec())
        assert (answer.status_code, answer.json()["code"]) == (409, "output_exists")
