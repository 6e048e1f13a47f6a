"""Cancel through the API, in every phase of a real job: it ends within seconds and its workers go on to the next."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crossfade_core.job import JobId, JobState, OutputState, Phase
from crossfade_registries.local.sink import STAGING
from tests.bench.make_pair import make_pair
from tests.fakes.checkpoints import random_pair
from tests.fakes.http_faults import Stall
from tests.ports.hub_place import HubPlace
from tests.system.fleet import START_SECONDS, Fleet
from tests.system.serving import wait_for

pytestmark = pytest.mark.slow

LAMBDAS = tuple(round(0.02 * step, 2) for step in range(51))
"""So many that a unit takes seconds."""
SMALL = {"base": "local://models/small/base", "instruct": "local://models/small/instruct"}
SOON_SECONDS = 25
"""Before the sweep sends again what is idle, which would hide that a cancel came to nobody."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_pair(folder, 4_000_000)
    random_pair(folder / "small")
    return folder


@pytest.fixture
def fleet(models: Path, tmp_path: Path, postgres_url: str, redis_url: str, hub: HubPlace) -> Iterator[Fleet]:
    """A fleet without workers yet, which reads from the Hub and publishes there too."""
    registries = {**hub.reading(), "credentials": hub.credentials()}
    settings = {name: json.dumps(value, default=str) for name, value in registries.items()}
    with Fleet(tmp_path, models, (postgres_url, redis_url), {"hub": hub.writing()}, **settings) as fleet:
        yield fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[httpx.Client]:
    with fleet.api() as client:
        yield client


@pytest.fixture
def stall(hub: HubPlace) -> Iterator[Stall]:
    """A fault that lasts until the test ends it."""
    ended = threading.Event()
    yield Stall(60, ended)
    ended.set()


@pytest.fixture
def remote(hub: HubPlace, models: Path) -> dict[str, str]:
    """The sides of a small pair at the Hub."""
    return {role: hub.put(role, models / "small" / role) for role in ("base", "instruct")}


def start_workers(fleet: Fleet) -> None:
    fleet.start("control")
    fleet.start("merge")


def cancel(client: httpx.Client, job_id: JobId) -> str:
    """Cancel a job and return the state it is answered to be in."""
    answer = client.post(f"/v1/merges/{job_id}/cancel")
    assert answer.status_code == 202, answer.text
    return answer.json()["state"]


def check_ends_cancelled(fleet: Fleet, job_id: JobId, *states: OutputState) -> None:
    """Hold that a job ends soon, its outputs in these states, nothing staged, and that its workers do the next one."""
    pids = fleet.pids()
    assert fleet.ended(job_id, SOON_SECONDS).state is JobState.CANCELLED
    outputs = fleet.store.list_outputs(job_id)
    assert [output.state for output in outputs] == list(states)
    published = [output.uri for output in outputs if output.uri is not None and output.uri.startswith("file:")]
    assert [path.as_uri() for path in fleet.outputs.iterdir()] == published
    following = fleet.submit(output_name="next-{lambda}", **SMALL)
    assert fleet.ended(following, START_SECONDS).state is JobState.SUCCEEDED
    assert pids <= fleet.pids()


def test_queued_job_is_cancelled_at_once_and_no_worker_that_comes_later_begins_it(fleet, client):
    job_id = fleet.submit(**SMALL)
    assert cancel(client, job_id) == "CANCELLED"
    start_workers(fleet)
    check_ends_cancelled(fleet, job_id, OutputState.CANCELLED)
    assert fleet.store.get_job(job_id).plan_summary is None


def test_job_cancelled_while_it_is_planned_gets_no_plan(fleet, client, hub, remote, stall):
    start_workers(fleet)
    hub.fail(stall, "list")
    job_id = fleet.submit(**remote)
    wait_for(lambda: hub.faults_left == 0, START_SECONDS)
    assert fleet.store.get_job(job_id).phase is Phase.PLANNING
    assert [cancel(client, job_id), cancel(client, job_id)] == ["CANCELLING"] * 2
    stall.until.set()
    check_ends_cancelled(fleet, job_id, OutputState.CANCELLED)
    assert fleet.store.get_job(job_id).plan_summary is None


def test_job_cancelled_in_the_middle_of_a_unit_stops_it(fleet, client):
    start_workers(fleet)
    job_id = fleet.submit(LAMBDAS)
    _, _, child = fleet.held_in_its_unit(job_id)
    assert cancel(client, job_id) == "CANCELLING"
    child.resume()
    check_ends_cancelled(fleet, job_id, *[OutputState.CANCELLED] * len(LAMBDAS))
    assert JobState(client.get(f"/v1/merges/{job_id}").json()["state"]) is JobState.CANCELLED


def test_job_whose_source_hangs_is_cancelled_as_soon_and_its_worker_is_free(fleet, client, hub, remote):
    fleet.start("control")
    job_id = fleet.submit(**remote)
    wait_for(lambda: fleet.store.get_job(job_id).phase is Phase.MERGING, START_SECONDS)
    hub.fail(Stall(60), "read", times=None)
    fleet.start("merge")
    wait_for(lambda: fleet.holder(job_id), START_SECONDS)
    assert cancel(client, job_id) == "CANCELLING"
    check_ends_cancelled(fleet, job_id, OutputState.CANCELLED)
    hub.heal()


def test_job_cancelled_while_it_is_published_does_not_publish_the_output_under_way(fleet, client, hub, remote, stall):
    fleet.start("control")
    job_id = fleet.submit((0.0, 0.5), **remote)
    wait_for(lambda: fleet.store.get_job(job_id).phase is Phase.MERGING, START_SECONDS)
    hub.hub.fail(stall, path_contains="tokenizer_config.json")
    fleet.start("merge")
    wait_for(lambda: hub.faults_left == 0, START_SECONDS)
    assert fleet.store.get_job(job_id).phase is Phase.PUBLISHING
    assert [cancel(client, job_id), cancel(client, job_id)] == ["CANCELLING"] * 2
    assert (fleet.outputs / STAGING / job_id).exists()
    stall.until.set()
    check_ends_cancelled(fleet, job_id, OutputState.CANCELLED, OutputState.CANCELLED)


def test_job_cancelled_while_a_hub_commits_keeps_what_is_published_and_publishes_no_more(fleet, client, hub, stall):
    start_workers(fleet)
    hub.fail(stall, "publish", output="tuned-0.5")
    job_id = fleet.submit((0.0, 0.5, 1.0), destination="hub", output_name="tuned-{lambda}", **SMALL)
    wait_for(lambda: hub.faults_left == 0, START_SECONDS)
    assert [cancel(client, job_id), cancel(client, job_id)] == ["CANCELLING"] * 2
    stall.until.set()
    check_ends_cancelled(fleet, job_id, OutputState.PUBLISHED, OutputState.PUBLISHED, OutputState.CANCELLED)
    assert {path.partition("/")[0] for path in hub.visible()} == {"tuned-0.0", "tuned-0.5"}


def test_cancel_that_comes_too_late_is_told_that_the_job_is_final(fleet, client):
    start_workers(fleet)
    job_id = fleet.submit(**SMALL)
    assert fleet.ended(job_id, START_SECONDS).state is JobState.SUCCEEDED
    answer = client.post(f"/v1/merges/{job_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert "state SUCCEEDED" in answer.json()["detail"]
    assert "it is final" in answer.json()["detail"]
    assert fleet.store.get_job(job_id).state is JobState.SUCCEEDED
