"""A registry that is down for good ends the job with its name; others go on, and the job too once it is back."""

import json
from pathlib import Path

import pytest

from crossfade_core.job import JobState
from crossfade_core.messages import PLAN
from tests.bench.make_pair import make_pair
from tests.fakes.http_faults import Status
from tests.system.fleet import Fleet
from tests.system.serving import wait_for

pytestmark = pytest.mark.slow

HURRY = {"retry_seconds": 0.1, "patience_seconds": 2}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    make_pair(folder, 40_000_000, 5_000_000)
    return folder


def test_job_ends_with_the_registry_named_and_goes_on_when_it_is_back(models, tmp_path, postgres_url, redis_url, hub):
    registries = {**hub.reading(), "credentials": hub.credentials()}
    settings = {name: json.dumps(value, default=str) for name, value in registries.items()}
    remote = {role: hub.put(role, models / role) for role in ("base", "instruct")}
    home = tmp_path / "service"
    home.mkdir()
    with Fleet(home, models, (postgres_url, redis_url), **settings, **HURRY) as fleet:
        fleet.start("control")
        job_id = fleet.submit(output_name="hub-{lambda}", **remote)
        wait_for(lambda: fleet.store.list_units(job_id), 60)
        first, last = fleet.store.list_units(job_id)[0], fleet.store.list_units(job_id)[-1]
        hub.fail(Status(503), "read", file=last.shard["file"], times=None)
        fleet.start("merge")
        failed = fleet.ended(job_id)
        assert (failed.state, (failed.error or {})["code"]) == (JobState.FAILED, "source_unavailable")
        assert f"/{last.shard['file']}" in (failed.error or {})["message"]
        done = {event.data["position"] for event in fleet.events(job_id, "unit.done")}
        assert first.position in done
        elsewhere = fleet.submit(output_name="local-{lambda}")
        assert fleet.ended(elsewhere).state is JobState.SUCCEEDED
        assert not list(fleet.outputs.glob("hub-*"))
        hub.heal()
        fleet.store.retry_job(job_id)
        fleet.queue.send(PLAN, job_id)
        wait_for(lambda: fleet.store.get_job(job_id).state is JobState.SUCCEEDED, 120)
        begun = [event.data["position"] for event in fleet.events(job_id, "unit.started")]
        assert [position for position in done if begun.count(position) != 1] == []
        assert list(fleet.outputs.glob("hub-0.5"))
