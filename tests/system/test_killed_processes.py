"""SIGKILL of any process in the middle of a job: the job ends, with the same bytes as an undisturbed run."""

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from crossfade_core.job import JobState
from tests.bench.make_pair import make_pair
from tests.system.fleet import START_SECONDS, STOP_SECONDS, Fleet
from tests.system.serving import CLI, Service, kill_tree, serving, wait_for

pytestmark = pytest.mark.slow

LAMBDAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PAIR_BYTES = 330_000_000
LEASE_SECONDS = "10"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_pair(folder, PAIR_BYTES)
    return folder


@pytest.fixture(scope="module")
def undisturbed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[float, str], str]:
    """Digest of every shard of every λ, by `crossfade merge`."""
    out = tmp_path_factory.mktemp("undisturbed")
    command = [CLI, "merge", models / "base", models / "instruct", "--out", out, "--json"]
    command += ["--lambda", ",".join(map(str, LAMBDAS))]
    outputs = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["outputs"]
    return digests((output["lambda"], output["files"]) for output in outputs)


def digests(outputs: Any) -> dict[tuple[float, str], str]:
    return {
        (lam, file["name"]): file["sha256"]
        for lam, files in outputs
        for file in files
        if file["name"].endswith(".safetensors")
    }


@pytest.mark.parametrize("name", ["merge1", "control", "api", "redis"])
def test_a_killed_process_of_the_embedded_service_changes_no_byte(
    name: str, models: Path, undisturbed: dict[tuple[float, str], str], tmp_path: Path
) -> None:
    settings = {"lease_seconds": LEASE_SECONDS, "sweep_seconds": "0.3", "max_deaths": "100"}
    with serving(tmp_path, {"models": models}, threads=1, **settings) as service:
        accepted = service.submit(base="local://models/base", instruct="local://models/instruct", lambdas=LAMBDAS)
        wait_for(lambda: service.job(accepted["id"])["progress"]["bytes_done"] > 0, START_SECONDS)
        during = service.job(accepted["id"])
        victim = service.child(name)
        kill_tree(victim)
        victim.wait(STOP_SECONDS)
        assert during["state"] == "RUNNING"
        assert during["progress"]["units_done"] < during["progress"]["units_total"]
        job = service.wait(accepted["id"])
        again = wait_for(lambda: restarted(service, name), START_SECONDS)
        assert again.pid != victim.pid
    assert job["state"] == "SUCCEEDED", job["error"]
    assert digests((output["lambda"], output["files"]) for output in job["outputs"]) == undisturbed
    assert not (tmp_path / "outputs" / ".crossfade-staging").exists()


def restarted(service: Service, name: str) -> psutil.Process | None:
    try:
        return service.child(name)
    except AssertionError:
        return None


def test_workers_on_postgresql_and_a_redis_by_url_survive_a_kill_each(
    models: Path, undisturbed: dict[tuple[float, str], str], tmp_path: Path, postgres_url: str, redis_url: str
) -> None:
    with Fleet(tmp_path, models, (postgres_url, redis_url), lease_seconds=LEASE_SECONDS) as fleet:
        fleet.start("control")
        fleet.start("merge")
        job_id = fleet.submit(LAMBDAS)
        fleet.held_in_its_unit(job_id)
        for name in ("merge", "control"):
            fleet.kill(name)
            fleet.start(name)
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        fences = sorted(unit.fence for unit in fleet.store.list_units(job_id))
        assert fences == [1] * (len(fences) - 1) + [2], "only the unit under way ran again"
        assert fleet.digests(job_id) == undisturbed
