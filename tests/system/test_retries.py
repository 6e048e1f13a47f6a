"""On real processes: a failed job goes on where it was, and what is submitted many times is made once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossfade_core.job import JobId, JobState, UnitState
from crossfade_core.messages import MERGE_QUEUE, UNIT
from tests.bench.make_pair import make_pair
from tests.servers import RedisServer
from tests.system.fleet import START_SECONDS, Fleet
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
    """A fleet that plans; it merges from when the test starts that, and sweeps after it only."""
    home = tmp_path / "service"
    home.mkdir()
    with Fleet(home, models, (postgres_url, redis_url), sweep_seconds=600) as fleet:
        fleet.start("control")
        yield fleet


def spec(**fields):
    sides = {"base": "local://models/base", "instruct": "local://models/instruct"}
    return {**sides, "lambdas": LAMBDAS, "destination": "outputs", **fields}


def keep_messages(fleet: Fleet, job_id: JobId, redis_server: RedisServer, count: int) -> None:
    """Wait until a job is planned and all its units are sent, and take all of these messages away but so many."""
    with redis_server.client() as client:

        def is_sent() -> bool:
            units = fleet.store.list_units(job_id)
            return bool(units) and client.llen(MERGE_QUEUE) == len(units)

        wait_for(is_sent, 120)
        client.ltrim(MERGE_QUEUE, -count, -1)


def test_job_whose_source_was_away_goes_on_with_the_units_it_has(fleet, models, redis_server):
    with fleet.api() as client:
        job = client.post("/v1/merges", json=spec()).raise_for_status().json()
        job_id = JobId(job["id"])
        keep_messages(fleet, job_id, redis_server, 2)
        fleet.start("merge")
        wait_for(lambda: len(fleet.events(job_id, "unit.done")) == 2, START_SECONDS)
        away = models / "instruct"
        away.rename(models / "elsewhere")
        for unit in fleet.store.list_units(job_id):
            if unit.state is UnitState.PENDING:
                fleet.queue.send(UNIT, unit.id)
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
        fleet.start("merge")
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
