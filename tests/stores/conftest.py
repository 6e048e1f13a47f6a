"""One store over two databases: every test of this folder that asks for `store` runs on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from crossfade_core.job import JobId, JobState, Phase, Unit
from crossfade_core.job_store import NewUnit
from crossfade_core.spec import MergeSpec
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.schema import upgrade
from tests.fakes.clock import FakeClock

SPEC = MergeSpec(
    base="local://models/base",
    instruct="local://models/instruct",
    lambdas=(0.5, 0.0, 1.0),
    destination="outputs",
    labels={"team": "größer"},
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/crossfade.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def open_engine() -> Iterator[Callable[[str], Engine]]:
    """Open engines as separate processes would; they are disposed of after the test."""
    engines: list[Engine] = []

    def open_one(url: str) -> Engine:
        engines.append(create_store_engine(url))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.dispose()


@pytest.fixture
def engine(database_url: str, open_engine: Callable[[str], Engine]) -> Engine:
    """A database with its schema."""
    engine = open_engine(database_url)
    upgrade(engine)
    return engine


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(engine: Engine, clock: FakeClock) -> SqlJobStore:
    return SqlJobStore(engine, clock)


@pytest.fixture
def spec() -> MergeSpec:
    return SPEC


@pytest.fixture
def running_job(store: SqlJobStore) -> Callable[..., tuple[JobId, list[Unit]]]:
    """Make a job that is RUNNING with a plan of `count` units of 100 bytes each."""

    def make(count: int, priority: int = 0) -> tuple[JobId, list[Unit]]:
        job = store.create_job(SPEC.model_copy(update={"priority": priority}))
        store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
        units = [NewUnit({"file": f"model-{position}.safetensors"}, 100) for position in range(count)]
        return job.id, list(store.save_plan(job.id, {"shards": count}, units))

    return make
