"""A deployment in a temporary folder: a migrated SQLite database, one root with a small pair, one destination."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from crossfade_api.app import create_app, open_adapters
from crossfade_api.dependencies import Adapters
from crossfade_api.settings import ApiSettings
from crossfade_core.job import JobId, JobState, Phase
from crossfade_core.job_store import JobStore, NewUnit
from crossfade_core.ports import Clock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.schema import upgrade
from tests.fakes.checkpoints import random_pair
from tests.fakes.queue import RecordingQueue
from tests.held_ports import held_port

SPEC = {
    "base": "local://models/base",
    "instruct": "local://models/instruct",
    "lambdas": [0.0, 0.5],
    "destination": "outputs",
}
PLAN_SUMMARY = {
    "tensors": 2,
    "sources": {"base": "local://models/base", "instruct": "local://models/tuned"},
    "actions": {"interpolate": 2},
    "out_dtypes": {"BF16": 2},
    "shards": [{"file": "model.safetensors", "size_bytes": 500}],
    "read_bytes": 1000,
    "write_bytes_per_output": 500,
}


@dataclass(frozen=True)
class Deployment:
    """What one test runs against. `client` speaks to the application under its loopback name, without a token."""

    settings: ApiSettings
    client: TestClient
    queue: RecordingQueue
    store: JobStore
    models: Path
    outputs: Path

    def submit(self, **changes: Any) -> dict[str, Any]:
        """Submit the small pair and return the accepted job."""
        answer = self.client.post("/v1/merges", json={**SPEC, **changes})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def begin(self, id: str) -> JobId:
        """Take a job to merging, as the workers would: two units of 500 output bytes."""
        job_id = JobId(id)
        self.store.move_job(job_id, JobState.RUNNING, phase=Phase.PLANNING)
        self.store.save_plan(job_id, PLAN_SUMMARY, [NewUnit({}, 500), NewUnit({}, 500)])
        return job_id

    def finish_unit(self, job_id: JobId, position: int) -> None:
        """Claim a unit and complete it."""
        unit = self.store.list_units(job_id)[position]
        claimed = self.store.claim_unit(unit.id, "test", 60)
        assert claimed is not None
        self.store.complete_unit(unit.id, claimed.fence, {})

    def succeed(self, id: str) -> JobId:
        """Take a job to its good end."""
        job_id = self.begin(id)
        self.finish_unit(job_id, 0)
        self.finish_unit(job_id, 1)
        for output in self.store.list_outputs(job_id):
            files = {"model.safetensors": {"size_bytes": 500, "sha256": "ab" * 32}}
            self.store.publish_output(job_id, output.position, f"file:///outputs/{output.name}", files)
        self.store.move_job(job_id, JobState.SUCCEEDED, phase=Phase.DONE)
        return job_id


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, Any]:
    """Return the settings of a deployment whose folders and database exist; its broker does not."""
    random_pair(tmp_path / "models")
    (tmp_path / "outputs").mkdir()
    url = f"sqlite:///{tmp_path}/crossfade.db"
    engine = create_store_engine(url)
    upgrade(engine)
    engine.dispose()
    return {
        "database_url": url,
        "broker_url": f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0",
        "roots": {"models": str(tmp_path / "models")},
        "destinations": {"outputs": {"kind": "local", "path": str(tmp_path / "outputs")}},
    }


@pytest.fixture
def deploy(environment: dict[str, Any], tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Return a function that starts the application, with changed settings if need be."""
    running = ExitStack()

    def start(*, raise_errors: bool = True, clock: Clock | None = None, **changes: Any) -> Deployment:
        settings = ApiSettings.model_validate({**environment, **changes})
        queue = RecordingQueue()

        @contextmanager
        def opener(settings: ApiSettings) -> Iterator[Adapters]:
            with open_adapters(settings) as adapters:
                yield replace(adapters, queue=queue, clock=clock or adapters.clock)

        app = create_app(settings, opener)
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=raise_errors)
        running.enter_context(client)
        return Deployment(settings, client, queue, app.state.adapters.store, tmp_path / "models", tmp_path / "outputs")

    with running:
        yield start


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    """Return the plain deployment: loopback, no token."""
    return deploy()


@pytest.fixture
def port() -> Iterator[int]:
    """A port that a process of the API may take."""
    with held_port() as held:
        yield held
