"""A cancelled job ends soon, publishes nothing more and leaves nothing staged, whenever the cancel comes."""

from crossfade_core.errors import SourceUnavailable
from crossfade_core.job import JobState, Phase
from crossfade_core.messages import PUBLISH
from tests.worker.deployment import LEASE_SECONDS

CANCELLED = ("CANCELLED", ["CANCELLED"] * 3)


def assert_nothing_is_left(deployment, job):
    assert deployment.states(job) == CANCELLED
    assert list(deployment.outputs.iterdir()) == []
    assert deployment.store.list_events(job.id)[-1].type == "job.cancelled"


def test_cancel_of_a_queued_job_stands_against_its_late_plan_message(deployment):
    job = deployment.submit()
    deployment.store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE)
    deployment.deliver()
    assert deployment.job(job).plan_summary is None
    assert_nothing_is_left(deployment, job)


def test_cancel_during_planning(deployment):
    job = deployment.submit()
    deployment.on_next_read(lambda _: deployment.cancel(job.id))
    deployment.plan(job.id)
    deployment.deliver()
    assert deployment.job(job).plan_summary is None
    assert_nothing_is_left(deployment, job)


def test_cancel_during_planning_is_settled_even_if_its_message_came_too_early(deployment):
    job = deployment.submit()

    def cancel_and_deliver(_):
        deployment.cancel(job.id)
        deployment.publish(job.id, owner="control-2")  # the planner holds the lease: this does nothing
        deployment.drop_messages()

    deployment.on_next_read(cancel_and_deliver)
    deployment.plan(job.id)
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_cancel_before_any_unit_ran(deployment):
    job = deployment.submit()
    deployment.plan(job.id)
    deployment.cancel(job.id)
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_cancel_in_the_middle_of_a_unit_stops_it(deployment):
    job, (unit, *_) = deployment.planned()

    def cancel_and_wait_until_it_is_known(_):
        deployment.cancel(job.id)
        deployment.store.renewed.clear()
        deployment.clock.advance(1)
        assert deployment.store.renewed.wait(30)

    deployment.on_next_read(cancel_and_wait_until_it_is_known, by_a_thread=True)
    deployment.run_unit(unit.id)
    assert deployment.store.list_units(job.id)[0].result is None
    assert deployment.drop_messages() == [(PUBLISH, job.id)] * 2
    deployment.publish(job.id)
    assert_nothing_is_left(deployment, job)


def test_cancel_between_two_units(deployment):
    job, (first, *others) = deployment.planned()
    deployment.run_unit(first.id)
    deployment.cancel(job.id)
    for other in others:
        deployment.run_unit(other.id)
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_cancel_as_the_last_unit_ends(deployment):
    job, units = deployment.planned()
    for unit in units[:-1]:
        deployment.run_unit(unit.id)
    deployment.on_next_read(lambda _: deployment.cancel(job.id))
    deployment.run_unit(units[-1].id)
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_cancel_before_publishing(deployment):
    job = deployment.merged()
    deployment.cancel(job.id)
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_cancel_while_publishing_keeps_what_is_published_and_publishes_no_more(deployment):
    job = deployment.merged()

    def cancel_at_the_second_output(_):
        if deployment.states(job) == ("RUNNING", ["PUBLISHED", "PENDING", "PENDING"]):
            deployment.cancel(job.id)

    deployment.on_every_read(cancel_at_the_second_output)
    deployment.publish(job.id)
    deployment.deliver()
    assert deployment.states(job) == ("CANCELLED", ["PUBLISHED", "CANCELLED", "CANCELLED"])
    assert deployment.visible() == ["instruct-pad-0.0"]
    assert not deployment.is_staging()


def test_cancel_while_publishing_does_not_pull_staging_from_under_the_publisher(deployment):
    job = deployment.merged()

    def cancel_and_clean_at_once(_):
        deployment.cancel(job.id)
        deployment.publish(job.id, owner="control-2")
        assert deployment.job(job).state is JobState.CANCELLING
        assert deployment.is_staging()

    deployment.on_next_read(cancel_and_clean_at_once, "config.json")
    deployment.publish(job.id, owner="control-1")
    assert deployment.states(job) == ("CANCELLED", ["CANCELLED"] * 3)
    assert not deployment.is_staging()


def test_unit_that_fails_after_the_cancel_is_not_tried_again_and_has_it_settled(deployment):
    job, (unit, *_) = deployment.planned()

    def cancel_and_fail(_):
        deployment.cancel(job.id)
        deployment.deliver()
        raise SourceUnavailable("reading failed")

    deployment.on_next_read(cancel_and_fail)
    deployment.run_unit(unit.id)
    assert deployment.queue.sent == [(PUBLISH, job.id)]
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_unit_that_ends_before_it_learns_of_the_cancel_has_it_settled(deployment):
    job, (unit, *_) = deployment.planned()

    deployment.on_next_read(lambda _: deployment.cancel(job.id))
    deployment.run_unit(unit.id)
    assert deployment.store.list_units(job.id)[0].result is not None
    assert (PUBLISH, job.id) in deployment.queue.sent
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_cancel_takes_the_staging_away_at_once_and_waits_for_a_worker_that_still_writes(deployment):
    job, (unit, *_) = deployment.planned()

    def cancel_and_clean_at_once(_):
        deployment.cancel(job.id)
        deployment.deliver()
        assert deployment.job(job).state is JobState.CANCELLING
        assert not deployment.is_staging()
        deployment.clock.advance(1)

    deployment.on_next_read(cancel_and_clean_at_once)
    deployment.run_unit(unit.id)
    assert deployment.queue.sent == [(PUBLISH, job.id)]
    deployment.deliver()
    assert_nothing_is_left(deployment, job)


def test_cancel_of_a_job_whose_worker_was_killed_ends_with_its_lease(deployment):
    job, (unit, *_) = deployment.planned()
    deployment.store.claim_unit(unit.id, "killed", LEASE_SECONDS)
    dead = deployment.registries.open_sink(job.spec, job.id).create_file("instruct-pad-0.0", "half", 10)
    dead.write(memoryview(b"x"))
    deployment.cancel(job.id)
    deployment.deliver()
    assert deployment.job(job).state is JobState.CANCELLING
    deployment.clock.advance(LEASE_SECONDS + 1)
    deployment.sweep()
    deployment.deliver()
    assert_nothing_is_left(deployment, job)
    dead.abandon()


def test_cancelled_job_ends_even_if_its_destination_is_gone(deployment):
    job, _ = deployment.planned()
    deployment.outputs.rmdir()
    deployment.cancel(job.id)
    deployment.deliver()
    assert deployment.states(job) == CANCELLED
