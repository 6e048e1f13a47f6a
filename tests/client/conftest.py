"""The real API over real HTTP, in a thread of the test's own process: what its workers do, a test does by the store."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from crossfade_api.app import create_app, open_adapters
from crossfade_api.dependencies import Adapters
from crossfade_api.settings import ApiSettings
from crossfade_core.job import JobId, JobState, Phase
from crossfade_core.job_store import JobStore, NewUnit
from tests.api.conftest import PLAN_SUMMARY, environment
from tests.fakes.queue import RecordingQueue

TOKEN = "token-of-the-client-tests"
START_SECONDS = 30

__all__ = ["environment"]


@dataclass(frozen=True)
class RealService:
    """A service that is asked over HTTP, and whose jobs a test moves on."""

    url: str
    store: JobStore

    def begin(self, id: str) -> JobId:
        """Take a job to merging: one unit of 500 bytes."""
        job_id = JobId(id)
        self.store.move_job(job_id, JobState.RUNNING, phase=Phase.PLANNING)
        self.store.save_plan(job_id, PLAN_SUMMARY, [NewUnit({}, 500)])
        return job_id

    def succeed(self, id: str) -> None:
        """Take a job to its good end."""
        job_id = self.begin(id)
        (unit,) = self.store.list_units(job_id)
        claimed = self.store.claim_unit(unit.id, "test", 60)
        assert claimed is not None
        self.store.complete_unit(unit.id, claimed.fence, {})
        for output in self.store.list_outputs(job_id):
            files = {"model.safetensors": {"size_bytes": 500, "sha256": "ab" * 32}}
            self.store.publish_output(job_id, output.position, f"file:///outputs/{output.name}", files)
        self.store.move_job(job_id, JobState.SUCCEEDED, phase=Phase.DONE)


@pytest.fixture
def real_service(environment: dict[str, Any], tmp_path: Path) -> Iterator[RealService]:
    """Return the API with a token, SQLite, and a queue that only records."""
    settings = ApiSettings.model_validate({**environment, "api_token": TOKEN})

    @contextmanager
    def opener(settings: ApiSettings) -> Iterator[Adapters]:
        with open_adapters(settings) as adapters:
            yield replace(adapters, queue=RecordingQueue())

    app = create_app(settings, opener)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < deadline, "the service did not start in time"
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield RealService(f"http://127.0.0.1:{port}", app.state.adapters.store)
    finally:
        app.state.stopping.set()
        server.should_exit = True
        thread.join(START_SECONDS)
