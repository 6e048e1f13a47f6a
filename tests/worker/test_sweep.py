"""The sweep sends again what messages lost and workers left, and leaves alone what is fresh or over."""

import pytest

from crossfade_core.errors import QueueUnavailable
from crossfade_core.job import UnitState
from crossfade_core.messages import PLAN, PUBLISH, UNIT
from crossfade_worker.sweep import IDLE_SECONDS
from tests.worker.deployment import LEASE_SECONDS


def idle(deployment):
    deployment.clock.advance(IDLE_SECONDS + 1)


def swept(deployment):
    """Sweep once and return what was sent."""
    deployment.sweep()
    return deployment.drop_messages()


def test_what_is_fresh_is_left_alone(deployment):
    queued = deployment.submit(output_name="a-{lambda}")
    deployment.planned(output_name="b-{lambda}")
    deployment.merged(output_name="c-{lambda}")
    deployment.drop_messages()
    deployment.clock.advance(IDLE_SECONDS - 1)
    assert swept(deployment) == []
    assert deployment.job(queued).state == "QUEUED"


def test_what_is_over_is_left_alone(deployment):
    deployment.submit()
    deployment.deliver()
    failed = deployment.submit(instruct="local://models/absent")
    deployment.deliver()
    assert deployment.job(failed).state == "FAILED"
    idle(deployment)
    assert swept(deployment) == []


def test_lost_plan_message_is_sent_again(deployment):
    job = deployment.submit()
    deployment.drop_messages()
    idle(deployment)
    assert swept(deployment) == [(PLAN, job.id)]


def test_planner_that_died_is_followed_by_another(deployment):
    job = deployment.submit()

    def die(_):
        raise SystemExit(1)

    deployment.on_next_read(die)
    with pytest.raises(SystemExit):
        deployment.plan(job.id)
    assert deployment.drop_messages() == [(PLAN, job.id)]
    idle(deployment)
    deployment.sweep()
    deployment.deliver()
    assert deployment.job(job).state == "SUCCEEDED"


def test_lost_unit_messages_are_sent_again_for_units_that_wait(deployment):
    _, (first, *others) = deployment.planned()
    deployment.run_unit(first.id)
    idle(deployment)
    assert swept(deployment) == [(UNIT, other.id) for other in others]


def test_lost_publish_message_is_sent_again(deployment):
    job = deployment.merged()
    idle(deployment)
    assert swept(deployment) == [(PUBLISH, job.id)]


def test_lost_message_of_a_cancel_is_sent_again(deployment):
    job, _ = deployment.planned()
    deployment.cancel(job.id)
    deployment.drop_messages()
    idle(deployment)
    assert swept(deployment) == [(PUBLISH, job.id)]


def test_unit_of_a_dead_worker_is_sent_again_at_once_and_once(deployment):
    _, (unit, *_) = deployment.planned()
    deployment.store.claim_unit(unit.id, "killed", LEASE_SECONDS)
    assert swept(deployment) == []
    deployment.clock.advance(LEASE_SECONDS)
    assert swept(deployment) == [(UNIT, unit.id)]
    assert swept(deployment) == []
    assert deployment.store.list_units(unit.job_id)[0].state is UnitState.PENDING


def test_unit_that_is_sent_again_and_lost_again_is_sent_again_later(deployment):
    _, units = deployment.planned()
    deployment.store.claim_unit(units[0].id, "killed", LEASE_SECONDS)
    deployment.clock.advance(LEASE_SECONDS)
    swept(deployment)
    idle(deployment)
    assert swept(deployment) == [(UNIT, unit.id) for unit in units]


def test_job_that_waits_for_long_is_sent_again_now_and_then(deployment):
    job = deployment.submit()
    deployment.drop_messages()
    sent = []
    for _ in range(10):
        deployment.clock.advance(IDLE_SECONDS / 5)
        sent += swept(deployment)
    assert sent == [(PLAN, job.id)] * 2


def test_unit_that_runs_for_long_is_not_sent_again(deployment):
    _, (unit, *_) = deployment.planned()
    claimed = deployment.store.claim_unit(unit.id, "slow", LEASE_SECONDS)
    for done in range(20):
        deployment.clock.advance(LEASE_SECONDS / 3)
        deployment.store.renew_lease(unit.id, claimed.fence, LEASE_SECONDS, done)
        assert swept(deployment) == []


def test_sweep_without_a_broker_sends_everything_when_it_is_back(deployment):
    job, (unit, *_) = deployment.planned()
    deployment.store.claim_unit(unit.id, "killed", LEASE_SECONDS)
    deployment.clock.advance(LEASE_SECONDS + IDLE_SECONDS)
    deployment.queue.away = True
    for _ in range(3):
        with pytest.raises(QueueUnavailable):
            deployment.sweep()
    deployment.queue.away = False
    assert swept(deployment) == [(UNIT, unit.id)]
    idle(deployment)
    deployment.sweep()
    deployment.deliver()
    assert deployment.job(job).state == "SUCCEEDED"


@pytest.mark.parametrize("step", ["submitted", "planned", "merged"])
def test_job_that_has_not_ended_by_its_deadline_fails_and_leaves_nothing(deployment, step):
    submitted = {
        "submitted": lambda: deployment.submit(deadline_seconds=60),
        "planned": lambda: deployment.planned(deadline_seconds=60)[0],
        "merged": lambda: deployment.merged(deadline_seconds=60),
    }[step]()
    deployment.drop_messages()
    deployment.clock.advance(59)
    deployment.sweep()
    deployment.drop_messages()
    assert deployment.job(submitted).state in ("QUEUED", "RUNNING")
    deployment.clock.advance(1)
    assert (PUBLISH, submitted.id) in swept(deployment)
    deployment.publish(submitted.id)
    assert deployment.states(submitted) == ("FAILED", ["FAILED"] * 3)
    error = deployment.job(submitted).error
    assert (error["code"], error["blame"], error["details"]) == ("deadline_exceeded", "user", {"deadline_seconds": 60})
    assert list(deployment.outputs.iterdir()) == []
    deployment.clock.advance(100)
    assert swept(deployment) == []


def test_worker_learns_that_its_jobs_deadline_has_come(deployment):
    job, (unit, *_) = deployment.planned(deadline_seconds=1)

    def wait_too_long(_):
        deployment.clock.advance(2)
        deployment.sweep()

    deployment.on_next_read(wait_too_long)
    deployment.run_unit(unit.id)
    deployment.deliver()
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    assert deployment.job(job).error["code"] == "deadline_exceeded"
    assert not deployment.is_staging()


def test_job_that_ends_in_time_has_no_deadline_any_more(deployment):
    job = deployment.submit(deadline_seconds=60)
    deployment.deliver()
    deployment.clock.advance(100)
    assert swept(deployment) == []
    assert deployment.job(job).state == "SUCCEEDED"
