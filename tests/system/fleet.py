"""Workers on a PostgreSQL and a Redis by URL, as compose runs them, each process a test's to start and to break."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from crossfade_core.job import TERMINAL, Event, Job, JobId, Unit, UnitState
from crossfade_core.messages import PLAN
from crossfade_core.spec import MergeSpec
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.queue import CeleryTaskQueue
from tests.held_ports import held_port
from tests.system.serving import kill_tree, wait_for

START_SECONDS = 180
"""For what waits until a process is up: on a busy machine torch alone takes long to load."""
STOP_SECONDS = 60


class Fleet:
    """A store, a queue, and the workers that a test starts. A context manager; kills what still runs at its end.

    Args:
        folder: For logs, and outputs in `outputs`.
        models: The root `models`.
        urls: Of the database, migrated here, and of the broker.
        destinations: Further ones beside `outputs`, as they are configured.
        settings: Further `CROSSFADE_` variables of every worker.
    """

    def __init__(
        self,
        folder: Path,
        models: Path,
        urls: tuple[str, str],
        destinations: Mapping[str, Mapping[str, object]] | None = None,
        **settings: object,
    ) -> None:
        self.folder, self.outputs = folder, folder / "outputs"
        self.outputs.mkdir()
        database_url, broker_url = urls
        outputs = {"kind": "local", "path": str(self.outputs)}
        self.environment = {
            **os.environ,
            "CROSSFADE_DATABASE_URL": database_url,
            "CROSSFADE_BROKER_URL": broker_url,
            "CROSSFADE_ROOTS": json.dumps({"models": str(models)}),
            "CROSSFADE_DESTINATIONS": json.dumps({"outputs": outputs, **(destinations or {})}),
            "CROSSFADE_SWEEP_SECONDS": "0.3",
            "CROSSFADE_THREADS": "1",
            "REMAP_SIGTERM": "SIGQUIT",
            **{f"CROSSFADE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        subprocess.run([sys.executable, "-m", "crossfade_stores.migrate"], check=True, env=self.environment)
        self._engine = create_store_engine(database_url)
        self.store, self.queue = SqlJobStore(self._engine, SystemClock()), CeleryTaskQueue(broker_url)
        self.workers: dict[str, psutil.Popen] = {}

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.workers):
            self.kill(name)
        self.queue.close()
        self._engine.dispose()

    def start(self, queue: str, name: str = "") -> psutil.Popen:
        """Start a Celery worker of one queue; where one of that name ran, another in its place."""
        name = name or queue
        command = [sys.executable, "-m", "celery", "-A", "crossfade_worker.celery_app", "worker", "--pool", "prefork"]
        command += ["--concurrency", "1", "-Q", queue, "-n", f"{name}@%h", "--loglevel", "WARNING"]
        with (self.folder / f"{name}.log").open("a") as log:
            self.workers[name] = psutil.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.folder)
        return self.workers[name]

    @contextlib.contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """Run an API on a free port, and yield a client for it."""
        with held_port() as port:
            environment = {**self.environment, "CROSSFADE_API_PORT": str(port)}
            with (self.folder / "api.log").open("a") as log:
                process = subprocess.Popen([sys.executable, "-m", "crossfade_api"], env=environment, stderr=log)
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                    wait_for(lambda: _is_up(client), START_SECONDS)
                    yield client
            finally:
                process.kill()
                process.wait()

    def kill(self, name: str) -> set[int]:
        """SIGKILL a worker and its children; return their pids."""
        process = self.workers.pop(name)
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            process.wait(STOP_SECONDS)
            return set()
        pids = {process.pid, *(child.pid for child in process.children(recursive=True))}
        kill_tree(process)
        process.wait(STOP_SECONDS)
        return pids

    def pids(self) -> set[int]:
        """Return the pids of all workers and their children."""
        families = [(process, *process.children(recursive=True)) for process in self.workers.values()]
        return {member.pid for family in families for member in family}

    def worker_of(self, pid: int) -> str | None:
        """Return the name of the worker whose process, or child, has that pid."""
        for name, process in self.workers.items():
            if pid == process.pid or pid in {child.pid for child in process.children(recursive=True)}:
                return name
        return None

    def submit(self, lambdas: Iterable[float] = (0.5,), **fields: Any) -> JobId:
        """Store a job and send it off, as the API does."""
        sides = {"base": "local://models/base", "instruct": "local://models/instruct"}
        job = self.store.create_job(
            MergeSpec.model_validate({**sides, "lambdas": list(lambdas), "destination": "outputs", **fields})
        )
        self.queue.send(PLAN, job.id)
        return job.id

    def ended(self, job_id: JobId, seconds: float = 300) -> Job:
        """Wait until a job has ended."""
        return wait_for(lambda: self._if_ended(job_id), seconds)

    def events(self, job_id: JobId, kind: str) -> list[Event]:
        """Return the job's events of one type."""
        return [event for event in self.store.list_events(job_id, limit=100_000) if event.type == kind]

    def holder(self, job_id: JobId, position: int | None = None) -> tuple[Unit, int] | None:
        """Return a unit that is being worked on, or that at `position`, and the pid of whoever does."""
        for unit in self.store.list_units(job_id):
            if unit.state is UnitState.RUNNING and position in (None, unit.position) and unit.lease_owner:
                return unit, pid_of(unit.lease_owner)
        return None

    def wait_until_begun(self, job_id: JobId) -> None:
        """Wait until a unit is being streamed into `outputs`."""
        wait_for(lambda: self._streamed(job_id), START_SECONDS)

    def held_in_its_unit(self, job_id: JobId) -> tuple[str, int, psutil.Process]:
        """Suspend a process while it streams a unit into `outputs`, which then cannot end.

        Returns:
            Its worker's name, the unit's position, and the process.
        """

        def held() -> tuple[str, int, psutil.Process] | None:
            found = self._streamed(job_id)
            if found is None:
                return None
            name, unit, process = found
            process.suspend()
            wait_for(lambda: process.status() == psutil.STATUS_STOPPED, STOP_SECONDS)
            now = self.holder(job_id, unit.position)
            if _is_streaming(process) and now is not None and (now[0].fence, now[1]) == (unit.fence, process.pid):
                return name, unit.position, process
            process.resume()  # the unit ended before the process was suspended: another try
            return None

        return wait_for(held, START_SECONDS)

    def digests(self, job_id: JobId) -> Mapping[tuple[float, str], str]:
        """Return the digest of every shard of every λ that the job published."""
        return {
            (output.lam, name): about["sha256"]
            for output in self.store.list_outputs(job_id)
            for name, about in output.files.items()
            if name.endswith(".safetensors")
        }

    def _streamed(self, job_id: JobId) -> tuple[str, Unit, psutil.Process] | None:
        found = self.holder(job_id)
        name = self.worker_of(found[1]) if found is not None else None
        if found is None or name is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(found[1])
            return (name, found[0], process) if _is_streaming(process) else None
        return None

    def _if_ended(self, job_id: JobId) -> Job | None:
        job = self.store.get_job(job_id)
        return job if job.state in TERMINAL else None


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False


def _is_streaming(process: psutil.Process) -> bool:
    """Tell whether it has a shard open for writing: only between a unit's claim and its end."""
    return any(file.path.endswith(".part") for file in process.open_files())


def pid_of(owner: str) -> int:
    """Return the pid in a lease's owner."""
    return int(owner.rpartition(":")[2])
