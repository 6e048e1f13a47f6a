"""Publishing can be killed, doubled and contested at any moment; each output ends published once or failed by name."""

import shutil
import threading

import pytest

from crossfade_core.errors import StoreUnavailable
from crossfade_registries.config import Registries
from crossfade_registries.settings import RegistrySettings
from crossfade_worker.lease import CONTROL_LEASE_SECONDS

SUCCEEDED = ("SUCCEEDED", ["PUBLISHED"] * 3)


def assert_published(deployment, job):
    assert deployment.states(job) == SUCCEEDED
    assert all(output.files == deployment.digests(output) for output in deployment.store.list_outputs(job.id))
    assert not deployment.is_staging()


def test_nothing_is_published_before_the_last_unit_is_done(deployment):
    job, units = deployment.planned()
    for unit in units[:-1]:
        deployment.run_unit(unit.id)
        deployment.publish(job.id)
    assert deployment.visible() == []
    assert deployment.job(job).state == "RUNNING"
    deployment.run_unit(units[-1].id)
    deployment.publish(job.id)
    assert_published(deployment, job)


def test_publish_message_of_a_job_without_a_plan_does_nothing(deployment):
    job = deployment.submit()
    deployment.publish(job.id)
    assert deployment.job(job).state == "QUEUED"
    deployment.deliver()
    assert_published(deployment, job)


def test_publish_that_dies_between_commit_and_store_is_completed_by_the_next(deployment):
    job = deployment.merged()
    deployment.store.away = {"publish_output"}
    with pytest.raises(StoreUnavailable):
        deployment.publish(job.id)
    assert deployment.visible() == ["instruct-pad-0.0"]
    assert deployment.states(job) == ("RUNNING", ["PENDING"] * 3)
    deployment.store.away = set()
    deployment.publish(job.id, owner="control-2")
    assert_published(deployment, job)


def test_publish_that_dies_in_the_middle_of_an_output_is_completed_by_the_next(deployment):
    job = deployment.merged()

    def die(_):
        raise SystemExit(1)

    deployment.on_next_read(die, "tokenizer.json")
    with pytest.raises(SystemExit):
        deployment.publish(job.id)
    assert deployment.visible() == []
    deployment.publish(job.id, owner="control-2")
    assert_published(deployment, job)


def test_publisher_that_was_killed_is_succeeded_when_its_lease_ends(deployment):
    job = deployment.merged()
    assert deployment.store.lease_job(job.id, "killed", CONTROL_LEASE_SECONDS)
    deployment.publish(job.id)
    assert deployment.job(job).state == "RUNNING"
    deployment.clock.advance(CONTROL_LEASE_SECONDS + 1)
    deployment.sweep()
    deployment.deliver()
    assert_published(deployment, job)


def test_of_two_publishers_at_once_one_works(deployment):
    job = deployment.merged()
    is_reading, may_go_on = threading.Event(), threading.Event()

    def pause(_):
        is_reading.set()
        assert may_go_on.wait(60)

    deployment.on_next_read(pause, "config.json")
    first = threading.Thread(target=deployment.publish, args=(job.id, "control-1"))
    first.start()
    try:
        assert is_reading.wait(60)
        deployment.publish(job.id, "control-2")
        assert deployment.visible() == []
    finally:
        may_go_on.set()
        first.join(60)
    assert_published(deployment, job)


def test_publisher_that_is_overtaken_stops(deployment):
    job = deployment.merged()

    def be_slow(_):
        deployment.clock.advance(CONTROL_LEASE_SECONDS + 1)
        assert deployment.store.lease_job(job.id, "control-2", CONTROL_LEASE_SECONDS)

    deployment.on_next_read(be_slow, "config.json")
    deployment.publish(job.id, "control-1")
    assert deployment.states(job) == ("RUNNING", ["PUBLISHED", "PENDING", "PENDING"])
    deployment.publish(job.id, "control-2")
    assert_published(deployment, job)


def test_publisher_that_is_overtaken_by_a_whole_life_changes_nothing(deployment):
    job = deployment.merged()

    def sleep_through_it(_):
        deployment.clock.advance(CONTROL_LEASE_SECONDS + 1)
        deployment.publish(job.id, "control-2")
        assert deployment.job(job).state == "SUCCEEDED"

    deployment.on_next_read(sleep_through_it, "config.json")
    deployment.publish(job.id, "control-1")
    deployment.publish(job.id, "control-1")
    assert_published(deployment, job)


def test_publish_message_of_a_job_that_has_ended_changes_nothing(deployment):
    job = deployment.submit()
    deployment.deliver()
    events = deployment.store.list_events(job.id)
    deployment.publish(job.id)
    assert deployment.store.list_events(job.id) == events
    assert_published(deployment, job)


def test_output_whose_name_was_taken_meanwhile_fails_alone(deployment):
    job = deployment.merged()
    (deployment.outputs / "instruct-pad-0.5").mkdir()
    deployment.publish(job.id)
    assert deployment.states(job) == ("PARTIALLY_SUCCEEDED", ["PUBLISHED", "FAILED", "PUBLISHED"])
    failed = deployment.store.list_outputs(job.id)[1]
    assert failed.error["code"] == "output_exists"
    assert "instruct-pad-0.5" in failed.error["message"]
    assert deployment.job(job).error == failed.error
    assert list((deployment.outputs / "instruct-pad-0.5").iterdir()) == []
    assert not deployment.is_staging()


def test_job_of_which_every_name_was_taken_fails(deployment):
    job = deployment.merged()
    for output in deployment.store.list_outputs(job.id):
        (deployment.outputs / output.name).mkdir()
    deployment.publish(job.id)
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    assert deployment.job(job).error["code"] == "output_exists"
    assert not deployment.is_staging()


def test_companion_that_changed_since_the_plan_is_not_published(deployment):
    job = deployment.merged()
    template = deployment.pair.instruct / "chat_template.jinja"
    template.write_bytes(b"{{ poisoned }}".ljust(template.stat().st_size))
    deployment.publish(job.id)
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    error = deployment.job(job).error
    assert error["code"] == "source_changed"
    assert "chat_template.jinja" in error["message"]
    assert list(deployment.outputs.iterdir()) == []


def test_parent_that_is_gone_fails_the_job(deployment):
    job = deployment.merged()
    shutil.rmtree(deployment.pair.instruct)
    deployment.publish(job.id)
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    assert deployment.job(job).error["code"] == "source_not_found"
    assert list(deployment.outputs.iterdir()) == []


def test_destination_that_is_configured_no_more_fails_the_job(deployment):
    job = deployment.merged()
    deployment.registries = Registries(RegistrySettings(roots={"models": deployment.models}))
    deployment.publish(job.id)
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    assert deployment.job(job).error["code"] == "unknown_destination"
