"""The real process over real HTTP: `python -m crossfade_api` with SQLite, a token, and a broker that is not there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from crossfade_core.job import JobId, JobState, Phase
from crossfade_core.job_store import NewUnit
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from tests.api.conftest import PLAN_SUMMARY, SPEC

TOKEN = "token-of-the-process-test"
DEADLINE_SECONDS = 180


class Server:
    """One API process and a client for it."""

    def __init__(self, environment: dict, port: int, log: Path) -> None:
        values = {**environment, "api_token": TOKEN, "api_port": port}
        variables = {
            f"CROSSFADE_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
        }
        self.log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crossfade_api"], env={**os.environ, **variables}, stderr=stderr
            )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=DEADLINE_SECONDS,
        )

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                self.client.get("/healthz")
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)
            else:
                return


@pytest.fixture
def server(environment, port, tmp_path) -> Iterator[Server]:
    server = Server(environment, port, tmp_path / "api.log")
    try:
        server.wait_until_up()
        yield server
    finally:
        server.client.close()
        server.process.kill()
        server.process.wait()


@pytest.fixture
def store(environment) -> Iterator[SqlJobStore]:
    engine = create_store_engine(environment["database_url"])
    yield SqlJobStore(engine, SystemClock())
    engine.dispose()


@contextmanager
def stream(server: Server, job_id: str, after: int = 0) -> Iterator[Iterator[dict]]:
    headers = {"accept": "text/event-stream", **({"last-event-id": str(after)} if after else {})}
    with server.client.stream("GET", f"/v1/merges/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield parse(answer.iter_lines())


def parse(lines: Iterator[str]) -> Iterator[dict]:
    event: dict = {}
    for line in lines:
        if line and not line.startswith(":"):
            field, _, value = line.partition(": ")
            event[field] = value
        elif event:
            yield event
            event = {}


def submit(server: Server) -> JobId:
    answer = server.client.post("/v1/merges", json=SPEC)
    assert answer.status_code == 202, answer.text
    return JobId(answer.json()["id"])


def begin(store: SqlJobStore, job_id: JobId) -> None:
    store.move_job(job_id, JobState.RUNNING, phase=Phase.PLANNING)
    store.save_plan(job_id, PLAN_SUMMARY, [NewUnit({}, 1000)])


def test_a_stream_that_breaks_off_is_taken_up_without_loss_or_doubling(server, store):
    job_id = submit(server)
    with stream(server, job_id) as events:
        first = next(events)
        assert (first["id"], first["event"]) == ("1", "job.queued")
        begin(store, job_id)
        second = next(event for event in events if "id" in event)
    with stream(server, job_id, after=int(second["id"])) as events:
        (unit,) = store.list_units(job_id)
        claimed = store.claim_unit(unit.id, "test", 60)
        store.renew_lease(unit.id, claimed.fence, 60, 400)
        shown = (json.loads(event["data"]) for event in events if event["event"] == "progress")
        moved = next(progress for progress in shown if progress["bytes_done"])
        assert (moved["bytes_done"], moved["bytes_total"]) == (400, 1000)
        assert moved["eta_seconds"] > 0
        store.complete_unit(unit.id, claimed.fence, {})
        store.move_job(job_id, JobState.SUCCEEDED, phase=Phase.DONE)
        rest = [event for event in events if "id" in event]
    assert rest[-1]["event"] == "job.succeeded"
    with stream(server, job_id, after=int(second["id"])) as events:
        again = [int(event["id"]) for event in events if "id" in event]
    stored = [event.sequence for event in store.list_events(job_id)]
    assert [1, int(second["id"]), *again] == stored
    assert [int(event["id"]) for event in rest] == stored[-len(rest) :]


def test_without_a_broker_jobs_are_accepted_and_the_process_is_not_ready(server, store):
    job_id = submit(server)
    assert store.get_job(job_id).state is JobState.QUEUED
    ready = server.client.get("/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, "queue_unavailable")


def test_a_signal_ends_open_streams_and_the_process(server):
    job_id = submit(server)
    with stream(server, job_id) as events:
        next(events)
        server.process.send_signal(signal.SIGTERM)
        assert list(events) == []
    assert server.process.wait(DEADLINE_SECONDS) == -signal.SIGTERM
    entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"job.accepted", "queue.unavailable"} <= {entry["event"] for entry in entries}
    assert not [entry for entry in entries if entry["level"] in ("error", "critical")]
    assert TOKEN not in server.log.read_text()


def test_an_interrupt_from_the_keyboard_is_no_crash(server):
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(DEADLINE_SECONDS) == 0
    assert "Traceback" not in server.log.read_text()


def test_many_quiet_streams_leave_the_service_responsive(server):
    job_id = submit(server)
    with httpx.Client(limits=httpx.Limits(max_connections=80), timeout=DEADLINE_SECONDS) as many:
        url = f"{server.client.base_url}/v1/merges/{job_id}/events"
        open_streams = []
        try:
            for _ in range(60):
                headers = {**server.client.headers, "accept": "text/event-stream"}
                request = many.build_request("GET", url, headers=headers)
                open_streams.append(many.send(request, stream=True))
            assert server.client.get(f"/v1/merges/{job_id}").json()["state"] == "QUEUED"
        finally:
            for answer in open_streams:
                answer.close()
