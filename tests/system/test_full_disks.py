"""What a deployment meets when room runs out, on a disk or in memory: the job that needs it fails, alone."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from crossfade_core.job import JobId, JobState
from crossfade_core.messages import PLAN
from crossfade_worker.run_unit import MAX_FAILURES
from tests.bench.make_pair import make_pair
from tests.fakes.checkpoints import random_pair
from tests.fakes.http_faults import Stall
from tests.file_systems import NO_MOUNT, tmpfs
from tests.ports.hub_place import HubPlace
from tests.registries.staging import visible
from tests.system.fleet import START_SECONDS, Fleet
from tests.system.serving import wait_for

pytestmark = pytest.mark.slow

PAIR_BYTES = 40_000_000
DISK_BYTES = 64 << 20
"""Takes the pair's output of one λ, not of two."""
TOO_MANY = (0.0, 0.5, 1.0)
SMALL = {"base": "local://models/small/base", "instruct": "local://models/small/instruct"}
HURRY = {"retry_seconds": 0.1, "lease_seconds": 6}
TRYING = {**HURRY, "retry_seconds": 0.3}
"""Enough for a whole other job between the first failure of a unit and its last, 25 s later."""
SOON_SECONDS = 25
"""Less than the sweep needs to send what was lost."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_pair(folder, PAIR_BYTES)
    random_pair(folder / "small")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small-disk"
    folder.mkdir()
    with tmpfs(folder, DISK_BYTES) as is_mounted:
        if not is_mounted:
            pytest.skip(NO_MOUNT)
        yield folder


@pytest.fixture
def full(models: Path, tmp_path: Path, postgres_url: str, redis_url: str, small_disk: Path) -> Iterator[Fleet]:
    """A fleet whose destination `full` is a small disk."""
    destinations = {"full": {"kind": "local", "path": str(small_disk)}}
    with Fleet(tmp_path, models, (postgres_url, redis_url), destinations, **TRYING) as fleet:
        yield fleet


@pytest.fixture
def scratched(
    models: Path, tmp_path: Path, postgres_url: str, redis_url: str, hub: HubPlace, small_disk: Path
) -> Iterator[Fleet]:
    """A fleet with a Hub as the destination `hub`, and the small disk as scratch."""
    settings = {**HURRY, "scratch": small_disk, "credentials": json.dumps(hub.credentials())}
    with Fleet(tmp_path, models, (postgres_url, redis_url), {"hub": hub.writing()}, **settings) as fleet:
        yield fleet


def used_bytes(disk: Path) -> int:
    return shutil.disk_usage(disk).used


def fill(disk: Path) -> Path:
    """Do as somebody who takes all the room that is left; return their file."""
    taken = disk / "somebody-elses"
    taken.write_bytes(bytes(shutil.disk_usage(disk).free))
    return taken


def failed(fleet: Fleet, job_id: JobId) -> dict[str, Any]:
    """Wait until a job has failed, and return why."""
    job = fleet.ended(job_id, START_SECONDS)
    assert job.state is JobState.FAILED
    return job.error or {}


def check_succeeds(fleet: Fleet, **fields: Any) -> None:
    job = fleet.ended(fleet.submit(**fields), START_SECONDS)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)


def check_full(error: dict[str, Any]) -> None:
    assert error["code"] == "disk_full"
    assert "No space left on device; make room there" in error["message"]


def check_all_attempts_were_made(fleet: Fleet, job_id: JobId) -> None:
    tried = Counter(event.data["position"] for event in fleet.events(job_id, "unit.failed"))
    assert max(tried.values()) == MAX_FAILURES - 1


def test_job_too_large_for_its_destination_fails_alone_and_gives_the_room_back(full, small_disk):
    full.start("control")
    full.start("merge")
    large = full.submit(TOO_MANY, destination="full")
    wait_for(lambda: full.events(large, "unit.failed"), START_SECONDS)
    pids = full.pids()
    check_succeeds(full, output_name="elsewhere-{lambda}")
    assert full.store.get_job(large).state is JobState.RUNNING
    error = failed(full, large)
    check_full(error)
    check_all_attempts_were_made(full, large)
    assert str(small_disk) in error["message"]
    assert visible(small_disk) == set()
    wait_for(lambda: used_bytes(small_disk) == 0, SOON_SECONDS)
    check_succeeds(full, destination="full", output_name="fits-{lambda}")
    assert [path.name for path in small_disk.iterdir()] == ["fits-0.5"]
    assert [path.name for path in full.outputs.iterdir()] == ["elsewhere-0.5"]
    assert pids <= full.pids()


def test_job_too_large_for_scratch_is_refused_with_what_it_needs_and_what_is_free(scratched, hub, small_disk):
    scratched.start("control")
    fill(small_disk)
    with scratched.api() as client:
        sides = {"base": "local://models/base", "instruct": "local://models/instruct"}
        answer = client.post("/v1/merges", json={**sides, "lambdas": [0.5], "destination": "hub"})
    assert (answer.status_code, answer.json()["code"]) == (507, "scratch_too_small")
    error = failed(scratched, scratched.submit(destination="hub"))
    assert error["code"] == "scratch_too_small"
    assert error["details"]["needed_bytes"] > error["details"]["free_bytes"] == 0
    assert str(small_disk) in error["message"]
    assert hub.visible() == {}


def test_scratch_that_somebody_else_fills_fails_its_job_alone_and_holds_nothing_of_it(scratched, hub, small_disk):
    scratched.start("control")
    scratched.start("merge", "killed")
    is_killed = threading.Event()
    hub.fail(Stall(60, is_killed), "send", skip=1)
    doomed = scratched.submit(destination="hub", output_name="doomed-{lambda}")
    wait_for(lambda: scratched.events(doomed, "unit.done"), START_SECONDS)
    wait_for(lambda: hub.faults_left == 0, 60)
    assert used_bytes(small_disk) > 0
    scratched.kill("killed")
    is_killed.set()
    wait_for(lambda: used_bytes(small_disk) == 0, SOON_SECONDS)
    taken = fill(small_disk)
    scratched.start("merge")
    error = failed(scratched, doomed)
    check_full(error)
    check_all_attempts_were_made(scratched, doomed)
    assert str(small_disk) in error["message"]
    pids = scratched.pids()
    check_succeeds(scratched)
    assert hub.visible() == {}
    assert used_bytes(small_disk) == taken.stat().st_size
    taken.unlink()
    check_succeeds(scratched, destination="hub", output_name="next-{lambda}")
    assert {path.partition("/")[0] for path in hub.visible()} == {"next-0.5"}
    assert used_bytes(small_disk) == 0
    assert pids <= scratched.pids()


def test_worker_without_memory_fails_its_job_and_lives_to_do_the_next(models, tmp_path, postgres_url, redis_url):
    with Fleet(tmp_path, models, (postgres_url, redis_url), **HURRY) as fleet:
        fleet.start("control")
        merge = fleet.start("merge")
        check_succeeds(fleet, output_name="before-{lambda}", **SMALL)
        pids = fleet.pids()
        (streamer,) = merge.children()
        streamer.rlimit(psutil.RLIMIT_AS, (streamer.memory_info().vms, psutil.RLIM_INFINITY))
        job_id = fleet.submit(output_name="hungry-{lambda}")
        error = failed(fleet, job_id)
        assert error["code"] == "out_of_memory"
        assert error["details"]["file"].endswith(".safetensors")
        check_all_attempts_were_made(fleet, job_id)
        assert visible(fleet.outputs) == {"before-0.5"}
        streamer.rlimit(psutil.RLIMIT_AS, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        fleet.store.retry_job(job_id)
        fleet.queue.send(PLAN, job_id)
        wait_for(lambda: fleet.store.get_job(job_id).state is JobState.SUCCEEDED, START_SECONDS)
        assert fleet.pids() == pids
