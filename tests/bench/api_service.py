"""Start what the API's bench measures: databases, the API's process, the bare one; and fill the store with jobs."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy import Engine, delete, insert, select

from crossfade_core.job import Job, JobId, JobState, Phase
from crossfade_core.spec import MergeSpec
from crossfade_registries.layout import SourcedPlan, plan_spec
from crossfade_registries.local.source import LocalSource
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.job_submissions import new_id
from crossfade_stores.job_tables import EventRow, JobRow, OutputRow, UnitRow
from crossfade_stores.schema import upgrade
from crossfade_worker.plan_record import new_units, plan_summary
from tests.bench.api_traffic import new_spec
from tests.held_ports import held_port
from tests.servers import Postgres

TOKEN: Final = "token-of-the-bench"
Filled: TypeAlias = tuple[list[JobId], list[JobId]]
"""The ids of all jobs of a store, and of those that have ended."""
_PATTERNS: Final = 10
_RUNNING: Final = 2
"""Of ten jobs in the store two are half done, the others have succeeded."""
_START_SECONDS: Final = 60
_STATISTICS: Final = {
    "method": "exact",
    "requested": 0.5,
    "realised": 0.499871,
    "relative_delta_norm": 0.0249713,
    "unchanged_share": 0.0712,
    "rounding_error": 0.0143,
    "base_non_finite": [0, 0],
    "instruct_non_finite": [0, 0],
    "overflowed": 0,
    "warnings": [],
}


@dataclass(frozen=True)
class Process:
    """A server's process and its port."""

    pid: int
    port: int


@contextlib.contextmanager
def database(name: str) -> Iterator[tuple[str, int | None]]:
    """Yield the URL of an empty database, and the pid of its server where it has one."""
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'crossfade.db'}", None
        return
    with Postgres(durable=True) as server:
        yield server.new_database(), server.process().pid


@contextlib.contextmanager
def serve(folder: Path, module: str, *arguments: str, **settings: object) -> Iterator[Process]:
    """Run a module that serves HTTP; `{port}` in an argument is its port. `settings` are CROSSFADE_ variables."""
    log = folder / "server.log"
    with held_port() as port:
        variables = {f"CROSSFADE_{name.upper()}": str(value) for name, value in {**settings, "api_port": port}.items()}
        command = [sys.executable, "-m", module, *(argument.format(port=port) for argument in arguments)]
        with log.open("w") as stream:
            process = subprocess.Popen(command, env={**os.environ, **variables}, stderr=stream)
        try:
            _wait_until_up(process, port, log)
            yield Process(process.pid, port)
        finally:
            process.terminate()
            process.wait()


def make_key(port: int) -> str:
    """Make a key as an operator does, and return its secret."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/keys",
        json.dumps({"name": "bench"}).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_START_SECONDS) as answer:
        return str(json.load(answer)["secret"])


def fill(url: str, models: Path, jobs: int) -> Filled:
    """Migrate a database and put jobs of a real plan into it."""
    engine = create_store_engine(url)
    try:
        upgrade(engine)
        store = SqlJobStore(engine, SystemClock())
        sourced = plan_spec(_spec(0), lambda uri: LocalSource(models, uri.rpartition("/")[2], uri))
        patterns = [_job(store, number, sourced) for number in range(_PATTERNS)]
        ids = _multiplied(engine, [job.id for job in patterns], jobs)
        return ids, [job_id for number, job_id in enumerate(ids) if number % _PATTERNS >= _RUNNING]
    finally:
        engine.dispose()


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except urllib.error.HTTPError:  # the bare one has no such path
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args} did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return


def _spec(number: int) -> MergeSpec:
    return MergeSpec.model_validate(new_spec(number))


def _job(store: SqlJobStore, number: int, sourced: SourcedPlan) -> Job:
    """Take a job through its life as workers do, without the merging."""
    job = store.create_job(_spec(number))
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    units = store.save_plan(job.id, plan_summary(sourced), new_units(sourced, len(job.spec.lambdas)))
    is_running = number < _RUNNING
    for unit in units[: len(units) // 2 if is_running else None]:
        claimed = store.claim_unit(unit.id, "bench", 600)
        assert claimed is not None
        store.complete_unit(unit.id, claimed.fence, {"outputs": []})
    if not is_running:
        _publish(store, job.id, sourced)
        store.move_job(job.id, JobState.SUCCEEDED, phase=Phase.DONE)
    return store.get_job(job.id)


def _publish(store: SqlJobStore, job_id: JobId, sourced: SourcedPlan) -> None:
    shards = {shard.file: shard.size_bytes for shard in sourced.plan.shards}
    small = {info.name: info.size_bytes for _, info in sourced.companions}
    files = {name: {"size_bytes": size, "sha256": "5f" * 32} for name, size in {**shards, **small}.items()}
    for output in store.list_outputs(job_id):
        uri = f"file:///outputs/{output.name}"
        store.publish_output(job_id, output.position, uri, files, statistics=_STATISTICS)


def _multiplied(engine: Engine, patterns: list[JobId], count: int) -> list[JobId]:
    """Put copies of jobs in their place, row by row, with ids of their own, the oldest first."""
    clock = SystemClock()
    ids = sorted(JobId(new_id("job", clock.now())) for _ in range(count))
    with engine.begin() as connection:
        for table, own_key in ((JobRow, "id"), (OutputRow, None), (UnitRow, "id"), (EventRow, None)):
            column = JobRow.id if table is JobRow else table.job_id
            rows = {
                pattern: connection.execute(select(table).where(column == pattern)).mappings().all()
                for pattern in patterns
            }
            copies = [
                {**row, **({own_key: new_id("unit", clock.now())} if own_key else {}), column.key: job_id}
                for number, job_id in enumerate(ids)
                for row in rows[patterns[number % len(patterns)]]
            ]
            connection.execute(insert(table), copies)
        for table in (EventRow, UnitRow, OutputRow):
            connection.execute(delete(table).where(table.job_id.in_(patterns)))
        connection.execute(delete(JobRow).where(JobRow.id.in_(patterns)))
    return ids
