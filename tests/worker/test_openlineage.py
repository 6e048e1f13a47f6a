"""Jobs are told to OpenLineage as run events over real HTTP; no receiver and no setting of it ever touches a job."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from openlineage.client.event_v2 import Job as RunJob
from openlineage.client.event_v2 import Run, RunEvent, RunState

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import JobState, Phase
from crossfade_stores.engine import create_store_engine
from crossfade_worker import openlineage_teller
from crossfade_worker.openlineage_events import PRODUCER, run_event, run_id
from crossfade_worker.openlineage_teller import Teller, open_teller
from crossfade_worker.telling_store import TellingStore
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.worker.deployment import Deployment

TOKEN = "the-receivers-own-token"


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # the package writes there


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def told(deployment: Deployment, monkeypatch, receiver: WebhookReceiver) -> Deployment:
    """A deployment whose workers are configured as an operator does."""
    monkeypatch.setitem(os.environ, "OPENLINEAGE_URL", receiver.url)
    monkeypatch.setitem(os.environ, "OPENLINEAGE_API_KEY", TOKEN)
    return telling(deployment)


def telling(deployment: Deployment) -> Deployment:
    teller = open_teller(os.environ)
    assert teller is not None
    deployment.store = TellingStore(deployment.engine, deployment.clock, teller)
    deployment.teller = teller
    return deployment


def events(deployment: Deployment, receiver: WebhookReceiver) -> list[dict[str, Any]]:
    deployment.teller.flush(30)
    for request in receiver.received:
        assert request.path == "/api/v1/lineage"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert TOKEN.encode() not in request.body
    found = [json.loads(request.body) for request in receiver.received]
    for event in found:
        check(event)
    return found


def check(event: dict[str, Any]) -> None:
    """Hold an event against the specification's models, whose validators the package has, and its rule of facets."""
    run, job = event["run"], event["job"]
    RunEvent(
        eventType=RunState[event["eventType"]],
        eventTime=event["eventTime"],
        run=Run(runId=run["runId"]),
        job=RunJob(namespace=job["namespace"], name=job["name"]),
        producer=event["producer"],
    )
    assert uuid.UUID(run["runId"]).version == 5
    assert event["schemaURL"].startswith("https://openlineage.io/spec/")
    datasets = [*event["inputs"], *event["outputs"]]
    assert all(dataset["namespace"] and dataset["name"] for dataset in datasets)
    facets = [facet for holder in (run, job, *datasets) for facet in (holder.get("facets") or {}).values()]
    assert facets
    assert all(facet["_producer"].startswith("http") or facet["_producer"] == PRODUCER for facet in facets)
    assert all(facet["_schemaURL"].startswith("https://") for facet in facets)


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [event["eventType"] for event in found]


def test_job_that_succeeds_is_told_with_its_sources_and_outputs(told, receiver):
    job = told.submit(lambdas=[0.0, 0.5], labels={"team": "eval"})
    told.deliver()
    found = events(told, receiver)
    assert kinds(found) == ["START", "RUNNING", "COMPLETE"]
    assert len({event["run"]["runId"] for event in found}) == 1
    assert {(event["job"]["namespace"], event["job"]["name"]) for event in found} == {
        ("crossfade", "merge local://models/base local://models/instruct")
    }
    end = found[-1]
    assert end["eventTime"] == told.job(job).finished_at.isoformat()
    own = end["run"]["facets"]["crossfade"]
    assert (own["jobId"], own["lambdas"], own["labels"]) == (job.id, [0.0, 0.5], {"team": "eval"})
    assert [(each["namespace"], each["name"]) for each in end["inputs"]] == [
        ("local://models", "base"),
        ("local://models", "instruct"),
    ]
    assert [each["facets"]["crossfade"]["role"] for each in end["inputs"]] == ["base", "instruct"]
    assert found[0]["outputs"] == []
    for output, dataset in zip(told.store.list_outputs(job.id), end["outputs"], strict=True):
        assert (dataset["namespace"], dataset["name"]) == ("file", str(told.outputs / output.name))
        own = dataset["facets"]["crossfade"]
        assert (own["lam"], own["uri"]) == (output.lam, output.uri)
        assert own["sha256"] == {name: about["sha256"] for name, about in output.files.items()}


def test_job_that_fails_is_told_with_its_error(told, receiver):
    told.submit(base="local://models/absent", lambdas=[0.5])
    told.deliver()
    found = events(told, receiver)
    assert kinds(found) == ["START", "FAIL"]
    assert found[-1]["run"]["facets"]["errorMessage"]["message"].startswith("source_not_found: ")


def test_job_that_is_cancelled_is_told_as_aborted(told, receiver):
    job, _ = told.planned(lambdas=[0.5])
    told.cancel(job.id)
    told.deliver()
    assert kinds(events(told, receiver)) == ["START", "RUNNING", "ABORT"]


def test_job_that_never_began_is_not_told(told, receiver):
    job = told.submit(lambdas=[0.5])
    told.store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE)
    assert events(told, receiver) == []


def test_retry_is_a_run_of_its_own(told, receiver):
    job = told.submit(base="local://models/later", lambdas=[0.5])
    told.deliver()
    (told.models / "later").symlink_to("base")
    told.clock.advance(1)
    told.store.retry_job(job.id)
    told.queue.send("merge.plan", job.id)
    told.deliver()
    found = events(told, receiver)
    assert kinds(found) == ["START", "FAIL", "START", "RUNNING", "COMPLETE"]
    runs = [event["run"]["runId"] for event in found]
    assert (len(set(runs[:2])), len(set(runs[2:])), len(set(runs))) == (1, 1, 2)


def test_run_has_one_id_in_every_process(told):
    job = told.submit(lambdas=[0.5])
    told.plan(job.id)
    again = TellingStore(create_store_engine(str(told.engine.url)), told.clock, Teller())
    assert run_id(again.get_job(job.id)) == run_id(told.job(job))
    assert run_id(again.get_job(job.id)) != run_id(told.job(told.submit(lambdas=[0.25])))


def test_namespace_is_the_operators(told, receiver):
    os.environ["OPENLINEAGE_NAMESPACE"] = "merges-of-eu"
    told.submit(lambdas=[0.5])
    told.deliver()
    assert {event["job"]["namespace"] for event in events(told, receiver)} == {"merges-of-eu"}


@pytest.mark.parametrize(
    ("uri", "names", "commit"),
    [
        ("s3://bucket/a/b", ("s3://bucket", "a/b"), None),
        (f"hf://acme/model@{'0f' * 20}", ("hf", "acme/model"), "0f" * 20),
        ("hf://acme/model@main", ("hf", "acme/model"), None),
        ("local://models/a/b", ("local://models", "a/b"), None),
    ],
)
def test_sources_are_named_as_openlineage_names_datasets(told, uri, names, commit):
    job = told.submit(base=uri, lambdas=[0.5])
    event = run_event("START", job, (), at=job.created_at)
    assert (event.inputs[0].namespace, event.inputs[0].name) == names
    version = event.inputs[0].facets.get("version")
    assert (None if version is None else version.datasetVersion) == commit


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("s3://bucket/a/b", ("s3://bucket", "a/b")),
        (f"hf://acme/model@{'0f' * 20}", ("hf", "acme/model")),
        ("file:///srv/an%20out/x", ("file", "/srv/an out/x")),
    ],
)
def test_outputs_are_named_as_openlineage_names_datasets(told, uri, names):
    job = told.submit(lambdas=[0.5])
    told.store.publish_output(job.id, 0, uri, {"lineage.json": {"size_bytes": 1, "sha256": "0" * 64}})
    event = run_event("COMPLETE", told.job(job), told.store.list_outputs(job.id), at=job.created_at)
    assert (event.outputs[0].namespace, event.outputs[0].name) == names


def warned(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in logs if entry["event"].startswith("openlineage")]


def refuse(receiver: WebhookReceiver, _: pytest.MonkeyPatch) -> None:
    receiver.statuses = [400] * 100


def be_away(receiver: WebhookReceiver, patch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:{TOKEN}@127.0.0.1:{free.getsockname()[1]}"
    patch.delitem(os.environ, "OPENLINEAGE_URL")
    transport = {"type": "http", "url": url, "retry": {"total": 1}}  # five by default: nine seconds for each event
    patch.setitem(os.environ, "OPENLINEAGE__TRANSPORT", json.dumps(transport))


def name_no_transport(receiver: WebhookReceiver, patch: pytest.MonkeyPatch) -> None:
    patch.delitem(os.environ, "OPENLINEAGE_URL")
    patch.setitem(os.environ, "OPENLINEAGE_CONFIG", "/there/is/none.yml")


def be_misspelt(receiver: WebhookReceiver, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(os.environ, "OPENLINEAGE__TRANSPORT", f"{{{TOKEN}")


@pytest.mark.parametrize("fault", [refuse, be_away, name_no_transport, be_misspelt])
def test_receiver_that_fails_is_warned_of_once_and_no_job_fails(
    deployment, receiver, monkeypatch, capfd, fault: Callable[[WebhookReceiver, pytest.MonkeyPatch], None]
):
    monkeypatch.setitem(os.environ, "OPENLINEAGE_URL", receiver.url)
    monkeypatch.setitem(os.environ, "OPENLINEAGE_API_KEY", TOKEN)
    fault(receiver, monkeypatch)
    with structlog.testing.capture_logs() as logs:
        told = telling(deployment)
        job = told.submit(lambdas=[0.5])
        told.deliver()
        assert told.states(job) == ("SUCCEEDED", ["PUBLISHED"])
        told.teller.flush(120)
    assert [(entry["event"], entry["log_level"]) for entry in warned(logs)] == [("openlineage.failed", "warning")]
    assert TOKEN not in json.dumps([str(entry) for entry in logs])
    captured = capfd.readouterr()
    assert TOKEN not in captured.out + captured.err


def test_receiver_that_recovers_and_fails_again_is_warned_of_again(told, receiver):
    receiver.statuses = [400, 400, 204, 400]
    with structlog.testing.capture_logs() as logs:
        told.submit(lambdas=[0.5])
        told.deliver()
        told.submit(lambdas=[0.25])
        told.deliver()
        told.teller.flush(30)
    assert len(warned(logs)) == 2
    assert len(receiver.received) == 6


def test_slow_receiver_holds_no_job_and_what_is_too_much_is_dropped(told, receiver, monkeypatch):
    slow = threading.Event()
    receiver.before_answer = lambda handler: slow.wait(30) and False
    monkeypatch.setattr(told.teller._waiting, "maxsize", 2)
    with structlog.testing.capture_logs() as logs:
        begun = time.monotonic()
        for _ in range(2):
            job = told.submit(lambdas=[0.5], output_name="{job}")
            told.deliver()
            assert told.states(job)[0] == "SUCCEEDED"
        assert time.monotonic() - begun < 20
        told.teller.flush(0.1)
        assert warned(logs)
        assert "events are lost" in warned(logs)[0]["reason"]
        slow.set()
        told.teller.flush(30)
    assert kinds([json.loads(request.body) for request in receiver.received])[0] == "START"
    assert len({request.body for request in receiver.received}) <= 4  # its client asks again after 5 s


def test_database_that_is_away_for_the_event_alone_fails_no_job(told, receiver, monkeypatch):
    def away(*_: object) -> None:
        raise StoreUnavailable("the database did not answer")

    job = told.submit(lambdas=[0.5])
    with structlog.testing.capture_logs() as logs:
        with monkeypatch.context() as patched:
            patched.setattr(TellingStore, "get_job", away)
            told.store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
            told.store.save_plan(job.id, {"sources": {}, "private": {}}, [])
        with monkeypatch.context() as patched:
            patched.setattr(TellingStore, "list_outputs", away)
            told.store.move_job(job.id, JobState.FAILED, phase=Phase.DONE)
    assert told.job(job).state is JobState.FAILED
    assert len(warned(logs)) == 2
    assert kinds(events(told, receiver)) == ["START"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENLINEAGE_NAMESPACE": "x"},
        {"OPENLINEAGE_URL": ""},
        {"OPENLINEAGE_URL": "http://127.0.0.1:1", "OPENLINEAGE_DISABLED": "true"},
    ],
)
def test_where_nobody_asks_for_it_nothing_is_told(environment):
    assert open_teller(environment) is None


@pytest.mark.parametrize("name", ["OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT__TYPE"])
def test_any_variable_that_names_a_transport_turns_it_on(name):
    assert open_teller({name: "x"}) is not None


def test_missing_package_is_warned_of(monkeypatch):
    monkeypatch.setattr(openlineage_teller, "find_spec", lambda name: None)
    with structlog.testing.capture_logs() as logs:
        assert open_teller({"OPENLINEAGE_URL": "http://127.0.0.1:1"}) is None
    assert "pip install 'crossfade[openlineage]'" in warned(logs)[0]["reason"]


def test_worker_that_is_not_asked_to_imports_nothing_of_it():
    code = (
        "import sys, crossfade_worker.runtime; print([name for name in sys.modules if name.startswith('openlineage')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_config_file_is_the_packages_own(deployment, receiver, monkeypatch, tmp_path: Path):
    config = tmp_path / "openlineage.yml"
    config.write_text(f"transport:\n  type: file\n  log_file_path: {tmp_path}/events\n  append: true\n")
    monkeypatch.setitem(os.environ, "OPENLINEAGE_CONFIG", str(config))
    told = telling(deployment)
    told.submit(lambdas=[0.5])
    told.deliver()
    told.teller.flush(30)
    found = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert kinds(found) == ["START", "RUNNING", "COMPLETE"]
