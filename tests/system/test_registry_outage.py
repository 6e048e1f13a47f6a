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


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    make_pair(folder, 40_000_000, 10_000_000)
    return folder


def test_job_ends_with_the_registry_named_and_goes_on_when_it_is_back(models, tmp_path, postgres_url, redis_url, hub):
    settings = {"retry_seconds": 0.1, "credentials": json.dumps(hub.credentials())}
    home = tmp_path / "service"
    home.mkdir()
    with Fleet(home, models, (postgres_url, redis_url), {"hub": hub.writing()}, **settings) as fleet:
        fleet.start("control")
        fleet.start("merge")
        hub.fail(Status(503), "send", skip=1, times=None)
        doomed = fleet.submit(destination="hub", output_name="doomed-{lambda}")
        wait_for(lambda: fleet.events(doomed, "unit.done"), 60)
        elsewhere = fleet.submit(output_name="elsewhere-{lambda}")
        assert fleet.ended(elsewhere).state is JobState.SUCCEEDED
        failed = fleet.ended(doomed)
        assert (failed.state, (failed.error or {})["code"]) == (JobState.FAILED, "sink_unavailable")
        assert "hf://team/doomed-0.5" in (failed.error or {})["message"]
        assert hub.visible() == {}
        hub.heal()
        done = len(fleet.events(doomed, "unit.done"))
        fleet.store.retry_job(doomed)
        fleet.queue.send(PLAN, doomed)
        wait_for(lambda: fleet.store.get_job(doomed).state is JobState.SUCCEEDED, 120)
        assert done > 0
        units = fleet.store.list_units(doomed)
        assert len(fleet.events(doomed, "unit.done")) == len(units)
        assert {path.partition("/")[0] for path in hub.visible()} == {"doomed-0.5"}
