"""A job that failed is retried by other processes with what its units have staged, wherever that lies."""

import pytest

from crossfade_core.errors import SourceUnavailable
from crossfade_core.messages import PLAN
from tests.ports.publishing import IGNORED

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.fixture
def failed(new_place, deployed, large_pair, request):
    """A deployment that keeps what failed jobs staged, and a job of two units whose second failed for good."""
    deployment = deployed(new_place("local"), new_place(request.param), pair=large_pair, chunk_bytes=1 << 18)
    deployment.keep_failed_seconds = 3600.0
    job, (first, second) = deployment.planned(lambdas=[0.0, 0.5])
    deployment.run_unit(first.id)

    def refuse(_: str) -> None:
        raise SourceUnavailable("the registry is away")

    deployment.on_every_read(refuse)
    for _ in range(5):
        deployment.run_unit(second.id)
        deployment.clock.advance(400)
    deployment.deliver()
    assert deployment.job(job).state == "FAILED"
    assert deployment.destination.visible() == {}
    deployment.on_every_read(lambda _: None)
    deployment.restart()
    return deployment, job


@pytest.mark.parametrize("failed", ["local", "s3", "swift", "hub", "xet"], indirect=True)
def test_retry_publishes_the_same_bytes_without_the_first_unit_again(failed):
    deployment, job = failed
    deployment.store.retry_job(job.id)
    deployment.queue.send(PLAN, job.id)
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 2)
    assert deployment.store.list_units(job.id)[0].fence == 1
    assert deployment.destination.staged() == set()
    retried = deployment.merged_files()
    undisturbed = deployment.run(lambdas=[0.0, 0.5], output_name="again-{lambda}")
    assert undisturbed.state == "SUCCEEDED"
    both = deployment.merged_files()
    again = {path.removeprefix("again-"): digest for path, digest in both.items() if path.startswith("again-")}
    assert {path.removeprefix("tuned-"): digest for path, digest in retried.items()} == again


@pytest.mark.parametrize("failed", ["local", "s3"], indirect=True)
def test_what_is_kept_for_too_long_is_put_away(failed):
    deployment, _ = failed
    assert deployment.destination.staged() != set()
    deployment.clock.advance(2 * 3600)
    deployment.sweep()
    deployment.deliver()
    assert deployment.destination.staged() == set()
