"""SIGKILL of any process in the middle of a job: the job ends, with the same bytes as an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from crossfade_core.job import JobState, UnitState
from crossfade_core.messages import PLAN
from crossfade_core.spec import MergeSpec
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.queue import CeleryTaskQueue
from tests.bench.make_pair import make_pair
from tests.system.serving import CLI, Service, kill_tree, serving, wait_for

pytestmark = pytest.mark.slow

LAMBDAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PAIR_BYTES = 330_000_000
LEASE_SECONDS = "2"


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
    settings = {"lease_seconds": LEASE_SECONDS, "sweep_seconds": "0.3"}
    with serving(tmp_path, {"models": models}, threads=1, **settings) as service:
        accepted = service.submit(base="local://models/base", instruct="local://models/instruct", lambdas=LAMBDAS)
        wait_for(lambda: service.job(accepted["id"])["progress"]["bytes_done"] > 0, 60)
        during = service.job(accepted["id"])
        victim = service.child(name)
        kill_tree(victim)
        victim.wait(10)
        assert during["state"] == "RUNNING"
        assert during["progress"]["units_done"] < during["progress"]["units_total"]
        job = service.wait(accepted["id"])
        again = wait_for(lambda: restarted(service, name), 60)
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
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    environment = {
        **os.environ,
        "CROSSFADE_DATABASE_URL": postgres_url,
        "CROSSFADE_BROKER_URL": redis_url,
        "CROSSFADE_ROOTS": json.dumps({"models": str(models)}),
        "CROSSFADE_DESTINATIONS": json.dumps({"outputs": {"kind": "local", "path": str(outputs)}}),
        "CROSSFADE_LEASE_SECONDS": LEASE_SECONDS,
        "CROSSFADE_SWEEP_SECONDS": "0.3",
        "CROSSFADE_THREADS": "1",
    }
    subprocess.run([sys.executable, "-m", "crossfade_stores.migrate"], check=True, env=environment)
    engine = create_store_engine(postgres_url)
    store, queue = SqlJobStore(engine, SystemClock()), CeleryTaskQueue(redis_url)
    spec = MergeSpec(
        base="local://models/base", instruct="local://models/instruct", lambdas=LAMBDAS, destination="outputs"
    )
    with ExitStack() as running:
        running.callback(engine.dispose)
        running.callback(queue.close)
        control = running.enter_context(worker("control", environment, tmp_path))
        first = running.enter_context(worker("merge", environment, tmp_path, name="merge1"))
        job = store.create_job(spec)
        queue.send(PLAN, job.id)
        wait_for(lambda: store.progress(job.id).bytes_done > 0, 60)
        kill_tree(first)
        kill_tree(control)
        running.enter_context(worker("control", environment, tmp_path, name="control2"))
        running.enter_context(worker("merge", environment, tmp_path, name="merge2"))
        wait_for(lambda: store.get_job(job.id).state not in (JobState.QUEUED, JobState.RUNNING), 120)
        units, published = store.list_units(job.id), store.list_outputs(job.id)
        assert store.get_job(job.id).state is JobState.SUCCEEDED
    assert {unit.state for unit in units} == {UnitState.DONE}
    assert sorted(unit.fence for unit in units) == [1] * (len(units) - 1) + [2], "only the unit under way ran again"
    listed = ((output.lam, [{"name": name, **about} for name, about in output.files.items()]) for output in published)
    assert digests(listed) == undisturbed


@contextmanager
def worker(queue: str, environment: dict[str, str], folder: Path, name: str = "") -> Iterator[psutil.Process]:
    """Run one Celery worker on one queue, the way compose does."""
    name = name or queue
    command = [sys.executable, "-m", "celery", "-A", "crossfade_worker.celery_app", "worker", "--pool", "prefork"]
    command += ["--concurrency", "1", "-Q", queue, "-n", f"{name}@%h", "--loglevel", "WARNING"]
    with (folder / f"{name}.log").open("w") as log:
        process = psutil.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        if process.is_running():
            process.send_signal(signal.SIGTERM)
        process.wait(60)
