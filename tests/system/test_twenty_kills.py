"""Workers are SIGKILLed twenty times, at any moment: the job ends, nothing is computed twice or after it is done."""

import itertools
import random
import time
from pathlib import Path

import pytest

from crossfade_core.job import JobState
from tests.bench.make_pair import make_pair
from tests.system.fleet import START_SECONDS, Fleet, pid_of
from tests.system.serving import wait_for

pytestmark = pytest.mark.slow

LAMBDAS = tuple(round(0.1 * step, 1) for step in range(11))
PAIR_BYTES = 340_000_000
SHARD_BYTES = 6_000_000
KILLS = 20
LEASE_SECONDS = 30
"""Longer than the kills take: a unit that one of them met is not done before the last, and so the job runs."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_pair(folder, PAIR_BYTES, SHARD_BYTES)
    return folder


def test_job_ends_as_if_nothing_had_happened(models, tmp_path, postgres_url, redis_url):
    chance = random.Random(time.time_ns())
    settings = {"lease_seconds": LEASE_SECONDS, "max_deaths": KILLS}
    with Fleet(tmp_path, models, (postgres_url, redis_url), **settings) as fleet:
        fleet.start("control")
        merging = [f"merge{number}" for number in range(3)]
        for name in merging:
            fleet.start("merge", name)
        job_id = fleet.submit(LAMBDAS)
        wait_for(lambda: fleet.holder(job_id), START_SECONDS)
        killed_at: dict[int, float] = {}
        for _ in range(KILLS):
            time.sleep(chance.uniform(0, 1.2))
            victim = chance.choice(merging)
            pids = fleet.kill(victim)
            killed_at |= dict.fromkeys(pids, time.time())
            fleet.start("merge", victim)
        assert fleet.store.get_job(job_id).state is JobState.RUNNING, "it ended before it was disturbed enough"
        assert fleet.ended(job_id).state is JobState.SUCCEEDED
        units = fleet.store.list_units(job_id)
        starts, done = fleet.events(job_id, "unit.started"), fleet.events(job_id, "unit.done")
        disturbed = fleet.digests(job_id)
        undisturbed = fleet.submit(LAMBDAS, output_name="undisturbed-{lambda}")
        assert fleet.ended(undisturbed).state is JobState.SUCCEEDED
        assert fleet.digests(undisturbed) == disturbed
    assert sorted(event.data["position"] for event in done) == [unit.position for unit in units]
    assert sum(unit.fence for unit in units) == len(starts)
    for unit in units:
        mine = [event for event in starts if event.data["position"] == unit.position]
        assert [event.data["fence"] for event in mine] == list(range(1, unit.fence + 1))
        finished = next(event for event in done if event.data["position"] == unit.position)
        assert finished.sequence > mine[-1].sequence, "nothing that is done is begun again"
        for earlier, later in itertools.pairwise(mine):
            died = killed_at.get(pid_of(earlier.data["worker"]))
            assert died is not None, "only a unit whose worker was killed is begun again"
            assert died < later.created_at.timestamp(), "and only after it died"
    assert len(starts) > len(units), "no kill met a unit; the test must be made harder"
