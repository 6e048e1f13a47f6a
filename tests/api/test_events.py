"""The event stream over an application in this process: what is sent, in which order, where it ends and goes on."""

import json

import anyio
import pytest
from starlette.testclient import TestClient

from crossfade_core.job import JobId, JobState, Phase


def read_stream(client: TestClient, path: str, **headers: str) -> list[dict]:
    answer = client.get(path, headers={"accept": "text/event-stream", **headers})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block) for block in blocks]


def test_a_finished_job_tells_its_whole_history_and_ends(deployment):
    job = deployment.submit()
    deployment.succeed(job["id"])
    events = read_stream(deployment.client, job["links"]["events"])
    stored = [event for event in events if event["event"] != "progress"]
    assert [int(event["id"]) for event in stored] == list(range(1, len(stored) + 1))
    assert (stored[0]["event"], stored[-1]["event"]) == ("job.queued", "job.succeeded")
    assert [event["event"] for event in stored].count("unit.done") == 2
    assert all("created_at" in json.loads(event["data"]) for event in stored)


def test_progress_carries_no_id_and_comes_before_the_end(deployment):
    job = deployment.submit()
    deployment.succeed(job["id"])
    events = read_stream(deployment.client, job["links"]["events"])
    (progress,) = [event for event in events if event["event"] == "progress"]
    assert "id" not in progress
    assert json.loads(progress["data"])["units_done"] == 2
    assert events[-1]["event"] == "job.succeeded"


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_stream_goes_on_after_the_last_event_seen(deployment, last):
    job = deployment.submit()
    deployment.succeed(job["id"])
    events = read_stream(deployment.client, job["links"]["events"], **{"last-event-id": str(last)})
    assert next(int(event["id"]) for event in events if "id" in event) == last + 1


def test_after_the_last_event_of_an_ended_job_the_stream_ends_at_once(deployment):
    job = deployment.submit()
    job_id = deployment.succeed(job["id"])
    last = deployment.store.list_events(job_id)[-1].sequence
    events = read_stream(deployment.client, job["links"]["events"], **{"last-event-id": str(last)})
    assert [event["event"] for event in events] == ["progress"]


def test_a_history_longer_than_a_page_is_complete(deployment):
    job_id = JobId(deployment.submit()["id"])
    deployment.store.move_job(job_id, JobState.RUNNING, phase=Phase.PLANNING)
    for turn in range(450):
        deployment.store.set_phase(job_id, (Phase.MERGING, Phase.PLANNING)[turn % 2])
    deployment.store.move_job(job_id, JobState.FAILED, phase=Phase.DONE)
    events = read_stream(deployment.client, f"/v1/merges/{job_id}/events")
    assert [int(event["id"]) for event in events] == list(range(1, 454))


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_every_kind_of_end_ends_the_stream(deployment, state):
    job_id = JobId(deployment.submit()["id"])
    deployment.store.move_job(job_id, state, phase=Phase.DONE)
    assert read_stream(deployment.client, f"/v1/merges/{job_id}/events")[-1]["event"] == f"job.{state.lower()}"


def test_the_list_of_a_log_holds_every_event_once_page_by_page(deployment):
    job = deployment.submit()
    job_id = deployment.succeed(job["id"])
    seen, after = [], 0
    while after is not None:
        page = deployment.client.get(job["links"]["events"], params={"after": after, "limit": 4}).json()
        seen += page["items"]
        after = page["next"]
    stored = deployment.store.list_events(job_id)
    assert [(item["id"], item["type"], item["data"]) for item in seen] == [
        (event.sequence, event.type, event.data) for event in stored
    ]
    assert all(item["created_at"] for item in seen)


def test_caches_are_told_that_the_list_depends_on_what_is_accepted(deployment):
    assert deployment.client.get(deployment.submit()["links"]["events"]).headers["vary"] == "Accept"


def test_list_and_stream_tell_the_same(deployment):
    job = deployment.submit()
    deployment.succeed(job["id"])
    listed = deployment.client.get(job["links"]["events"], headers={"accept": "application/json"}).json()["items"]
    streamed = [event for event in read_stream(deployment.client, job["links"]["events"]) if "id" in event]
    assert [(str(item["id"]), item["type"]) for item in listed] == [(each["id"], each["event"]) for each in streamed]


@pytest.mark.parametrize("value", ["-1", "x", "1.5", str(2**63), "9" * 5000])
def test_a_senseless_last_event_id_is_pointed_at(deployment, value):
    job = deployment.submit()
    answer = deployment.client.get(job["links"]["events"], headers={"last-event-id": value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "header/last-event-id"


def test_a_reader_that_goes_away_ends_its_stream(deployment):
    job = deployment.submit()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": job["links"]["events"],
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"accept", b"text/event-stream")],
    }

    async def read_one_event_and_leave() -> list[bytes]:
        bodies: list[bytes] = []
        left = anyio.Event()

        async def receive() -> dict:
            if not bodies:
                await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            if message.get("body"):
                bodies.append(message["body"])
                left.set()

        with anyio.fail_after(30):
            await deployment.client.app(scope, receive, send)
        return bodies

    (first,) = anyio.run(read_one_event_and_leave)
    assert b"event: job.queued" in first
