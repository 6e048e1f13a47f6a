"""What a deployment meets: a worker told to stop, a broker or a database that goes away, a unit that kills."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import JobId, JobState, UnitState
from tests.bench.make_pair import make_pair
from tests.registries.staging import visible
from tests.servers import Postgres, RedisServer
from tests.system.fleet import START_SECONDS, STOP_SECONDS, Fleet, pid_of
from tests.system.serving import Service, kill_tree, serving, wait_for

pytestmark = pytest.mark.slow

LAMBDAS = tuple(round(0.1 * step, 1) for step in range(11))
PAIR_BYTES = 240_000_000
SHARD_BYTES = 40_000_000
LEASE_SECONDS = 6
LONG_LEASE_SECONDS = 3600
NO_SWEEP_SECONDS = 600
"""Both longer than any of these tests lasts: what goes on at once waits for neither."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_pair(folder, PAIR_BYTES, SHARD_BYTES)
    make_pair(folder / "small", 4_000_000)
    return folder


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this test's own, to be stopped and started, which keeps what it has confirmed."""
    with Postgres(durable=True) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test's own, which keeps nothing over a restart."""
    with RedisServer() as server:
        yield server


def told_to_end(process: psutil.Process) -> bool:
    """Tell whether Celery has sent a suspended child the signal to end (proc_pid_status(5): one bit for each)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (pending,) = re.findall(r"^ShdPnd:\s*(\w+)", status, re.MULTILINE)
    return bool(int(pending, 16) & 1 << signal.SIGQUIT - 1)


def test_worker_that_is_told_to_stop_gives_its_unit_back_and_another_goes_on_at_once(
    models, tmp_path, postgres_url, redis_url
):
    settings = {"lease_seconds": LONG_LEASE_SECONDS, "sweep_seconds": NO_SWEEP_SECONDS, "grace_seconds": 0.2}
    with Fleet(tmp_path, models, (postgres_url, redis_url), **settings) as fleet:
        fleet.start("control")
        stopped = fleet.start("merge", "merge1")
        job_id = fleet.submit(LAMBDAS)
        _, position, child = fleet.held_in_its_unit(job_id)
        fleet.start("merge", "merge2")

        def begun_by_the_other() -> set[tuple[int, int]]:
            """Return position and fence of the units."""
            starts = [event.data for event in fleet.events(job_id, "unit.started")]
            others = [data for data in starts if fleet.worker_of(pid_of(data["worker"])) == "merge2"]
            return {(data["position"], data["fence"]) for data in others}

        wait_for(begun_by_the_other, START_SECONDS)
        stopped.send_signal(signal.SIGTERM)
        wait_for(lambda: told_to_end(child), STOP_SECONDS)
        child.resume()
        wait_for(lambda: (position, 2) in begun_by_the_other(), 240)
        assert stopped.wait(STOP_SECONDS) == 0
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        (again,) = [unit for unit in fleet.store.list_units(job_id) if unit.position == position]
        assert (again.fence, again.deaths, again.failures) == (2, 0, 0)


def waiting_units(fleet: Fleet, job_id: JobId) -> int:
    return sum(unit.state is UnitState.PENDING for unit in fleet.store.list_units(job_id))


def test_redis_that_comes_back_empty_loses_nothing(models, tmp_path, postgres_url, redis):
    with Fleet(tmp_path, models, (postgres_url, redis.url)) as fleet:
        fleet.start("control")
        fleet.start("merge")
        job_id = fleet.submit(LAMBDAS)
        _, _, child = fleet.held_in_its_unit(job_id)
        with redis.client() as client:
            wait_for(lambda: client.llen("merge") == waiting_units(fleet, job_id), 60)  # the plan has sent them all
        redis.stop(signal.SIGKILL)
        redis.start()
        with redis.client() as client:
            assert not client.exists("merge")
        child.resume()
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        assert [unit.deaths for unit in fleet.store.list_units(job_id)] == [0] * len(fleet.store.list_units(job_id))


def test_redis_that_is_away_for_a_minute_delays_and_breaks_nothing(models, tmp_path, postgres_url, redis):
    with Fleet(tmp_path, models, (postgres_url, redis.url)) as fleet:
        control, merge = fleet.start("control"), fleet.start("merge")
        job_id = fleet.submit(LAMBDAS)
        fleet.wait_until_begun(job_id)
        redis.stop()
        time.sleep(60)
        assert fleet.store.get_job(job_id).state is JobState.RUNNING
        redis.start()
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        assert control.is_running()
        assert merge.is_running()


def test_postgresql_that_restarts_delays_and_breaks_nothing(models, tmp_path, postgres, redis_url):
    with Fleet(tmp_path, models, (postgres.new_database(), redis_url)) as fleet:
        fleet.start("control")
        fleet.start("merge")
        job_id = fleet.submit(LAMBDAS)
        fleet.wait_until_begun(job_id)
        postgres.stop(signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            fleet.store.get_job(job_id)
        time.sleep(3)
        postgres.start()
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        assert sum(unit.failures for unit in fleet.store.list_units(job_id)) == 0


def test_unit_that_kills_its_workers_ends_its_job_alone(models, tmp_path, postgres_url, redis_url):
    with Fleet(tmp_path, models, (postgres_url, redis_url), lease_seconds=LEASE_SECONDS) as fleet:
        fleet.start("control")
        fleet.start("merge")
        poisoned = fleet.submit(LAMBDAS)
        small = {"base": "local://models/small/base", "instruct": "local://models/small/instruct"}
        deaths = 0
        while fleet.store.get_job(poisoned).state in (JobState.QUEUED, JobState.RUNNING):
            held = fleet.holder(poisoned, position=0)
            name = fleet.worker_of(held[1]) if held is not None and held[0].fence <= 3 else None
            if name is not None:
                fleet.kill(name)
                deaths += 1
                fleet.start("merge", name)
            time.sleep(0.02)
        healthy = fleet.submit(output_name="healthy-{lambda}", **small)
        assert fleet.ended(healthy).state is JobState.SUCCEEDED
        job = fleet.ended(poisoned)
        assert (job.state, job.error["code"], deaths) == (JobState.FAILED, "attempts_exhausted", 3)
        assert "begun 3 times" in job.error["message"]
        assert visible(fleet.outputs) == {"healthy-0.5"}


def test_worker_that_was_killed_is_known_by_its_lease_alone(models, tmp_path, postgres_url, redis_url):
    with Fleet(tmp_path, models, (postgres_url, redis_url), lease_seconds=LEASE_SECONDS) as fleet:
        fleet.start("control")
        fleet.start("merge", "merge1")
        job_id = fleet.submit(LAMBDAS)
        name, position, _ = fleet.held_in_its_unit(job_id)
        fleet.kill(name)
        fleet.start("merge", "merge2")
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        owners = [pid_of(event.data["worker"]) for event in fleet.events(job_id, "unit.started")]
        assert not any(psutil.pid_exists(pid) for pid in owners[:1])
        (lost,) = fleet.events(job_id, "unit.lost")
        assert lost.data == {"position": position, "deaths": 1}


def test_small_job_behind_a_large_sweep_ends_in_its_midst(models, tmp_path, postgres_url, redis_url):
    with Fleet(tmp_path, models, (postgres_url, redis_url)) as fleet:
        fleet.start("control")
        fleet.start("merge", "merge1")
        fleet.start("merge", "merge2")
        large = fleet.submit(LAMBDAS)
        _, _, child = fleet.held_in_its_unit(large)
        small = fleet.submit(
            output_name="small-{lambda}", base="local://models/small/base", instruct="local://models/small/instruct"
        )
        wait_for(lambda: fleet.store.list_units(small), 60)
        child.resume()
        ended = fleet.ended(small)
        assert ended.state is JobState.SUCCEEDED
        assert fleet.ended(large).state is JobState.SUCCEEDED
        last = fleet.events(large, "unit.done")[-1]
        assert ended.finished_at < last.created_at, "the large one must be made larger"


def test_stream_of_events_is_taken_up_after_the_api_restarted(models, tmp_path):
    seen: list[tuple[int, str]] = []
    is_killed = False
    with serving(tmp_path, {"models": models}, threads=1) as service:
        sides = {"base": "local://models/base", "instruct": "local://models/instruct"}
        path = service.submit(**sides, lambdas=LAMBDAS)["links"]["events"]
        while not seen or seen[-1][1] != "job.succeeded":
            try:
                for sequence, kind in events_after(service, path, seen[-1][0] if seen else 0):
                    seen.append((sequence, kind))
                    if kind == "unit.started" and not is_killed:
                        is_killed = True
                        kill_tree(service.child("api"))
            except httpx.TransportError:
                time.sleep(0.1)
    assert is_killed
    assert [sequence for sequence, _ in seen] == list(range(1, len(seen) + 1))


def events_after(service: Service, path: str, last: int) -> Iterator[tuple[int, str]]:
    """The job's events as a client hears them: number and type."""
    headers = {"accept": "text/event-stream", **({"last-event-id": str(last)} if last else {})}
    number = 0
    with service.client.stream("GET", path, headers=headers) as answer:
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                number = int(value)
            elif field == "event" and number > last:
                last = number
                yield number, value


def test_api_asks_to_come_back_while_its_database_is_away(models, tmp_path, postgres, redis_url):
    with Fleet(tmp_path, models, (postgres.new_database(), redis_url)) as fleet, fleet.api() as client:
        job_id = fleet.submit()
        assert client.get(f"/v1/merges/{job_id}").status_code == 200
        postgres.stop(signal.SIGKILL)
        for answer in (client.get(f"/v1/merges/{job_id}"), client.get("/readyz")):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        assert client.get("/healthz").status_code == 200
        postgres.start()
        assert client.get(f"/v1/merges/{job_id}").status_code == 200
