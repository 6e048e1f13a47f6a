"""Publishing that meets a passing error is tried again by the sweep; what is merged is not lost to it."""

import pytest

from crossfade_core.errors import SinkDenied, SinkUnavailable, SourceUnavailable
from crossfade_registries.local.sink import LocalSink
from crossfade_worker.publish import MAX_DELAYS
from crossfade_worker.sweep import IDLE_SECONDS

OUTPUT = "instruct-pad-0.5"


@pytest.fixture
def refuse(monkeypatch):
    """Let commits of one output raise an error, so many times."""
    commit = LocalSink.commit

    def install(error, times):
        left = iter(range(times))

        def refusing(self, name, files):
            if name == OUTPUT and next(left, None) is not None:
                raise error
            return commit(self, name, files)

        monkeypatch.setattr(LocalSink, "commit", refusing)

    return install


def come_back(deployment):
    deployment.clock.advance(IDLE_SECONDS + 1)
    deployment.sweep()
    deployment.deliver()


def delays(deployment, job):
    return [event.data for event in deployment.store.list_events(job.id) if event.type == "output.delayed"]


def test_output_is_published_once_its_destination_is_back(deployment, refuse):
    job = deployment.merged()
    refuse(SinkUnavailable("the destination is away"), 2)
    deployment.publish(job.id)
    assert deployment.states(job) == ("RUNNING", ["PUBLISHED", "PENDING", "PUBLISHED"])
    assert deployment.store.list_outputs(job.id)[1].error["code"] == "sink_unavailable"
    come_back(deployment)
    assert deployment.states(job) == ("RUNNING", ["PUBLISHED", "PENDING", "PUBLISHED"])
    come_back(deployment)
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    assert deployment.store.list_outputs(job.id)[1].error is None
    assert [data["delays"] for data in delays(deployment, job)] == [1, 2]
    assert not deployment.is_staging()


def test_destination_that_stays_away_fails_the_output_alone(deployment, refuse):
    job = deployment.merged()
    refuse(SinkUnavailable("the destination is away"), 100)
    deployment.publish(job.id)
    deployment.deliver_through_waits()
    assert deployment.states(job) == ("PARTIALLY_SUCCEEDED", ["PUBLISHED", "FAILED", "PUBLISHED"])
    assert len(delays(deployment, job)) == MAX_DELAYS


def test_error_that_trying_again_cannot_help_fails_the_output_at_once(deployment, refuse):
    job = deployment.merged()
    refuse(SinkDenied("the credential has expired"), 1)
    deployment.publish(job.id)
    assert deployment.states(job) == ("PARTIALLY_SUCCEEDED", ["PUBLISHED", "FAILED", "PUBLISHED"])
    assert delays(deployment, job) == []


def test_retry_counts_anew(deployment, refuse):
    deployment.keep_failed_seconds = 3600.0
    job = deployment.merged()
    refuse(SinkUnavailable("the destination is away"), MAX_DELAYS + 1)
    deployment.publish(job.id)
    deployment.deliver_through_waits()
    assert deployment.job(job).state == "PARTIALLY_SUCCEEDED"
    deployment.store.retry_job(job.id)
    deployment.plan(job.id)
    deployment.deliver()
    assert [data["delays"] for data in delays(deployment, job)][MAX_DELAYS:] == [1]
    come_back(deployment)
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)


def test_source_that_is_away_while_small_files_are_copied_delays_all(deployment):
    job = deployment.merged()

    def away(_):
        raise SourceUnavailable("the registry is away")

    deployment.on_every_read(away)
    deployment.publish(job.id)
    assert deployment.states(job) == ("RUNNING", ["PENDING"] * 3)
    deployment.on_every_read(lambda _: None)
    come_back(deployment)
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)


def test_cancel_of_a_job_whose_outputs_wait_leaves_nothing(deployment, refuse):
    job = deployment.merged()
    refuse(SinkUnavailable("the destination is away"), 100)
    deployment.publish(job.id)
    deployment.cancel(job.id)
    deployment.deliver()
    assert deployment.states(job) == ("CANCELLED", ["PUBLISHED", "CANCELLED", "PUBLISHED"])
    assert not deployment.is_staging()
