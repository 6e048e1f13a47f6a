"""The queue may double and delay; the store decides, so nothing is done twice."""

from crossfade_core.messages import UNIT, TaskName
from tests.fakes.queue import RecordingQueue
from tests.worker.deployment import facts_of

SUCCEEDED = ("SUCCEEDED", ["PUBLISHED"] * 3)


class DoublingQueue(RecordingQueue):
    """Sends everything twice."""

    def send(self, task: TaskName, id: str) -> None:
        super().send(task, id)
        super().send(task, id)


def snapshot(deployment, job):
    """Everything the store and the disk hold of a job."""
    store = deployment.store
    events, units, outputs = store.list_events(job.id), store.list_units(job.id), store.list_outputs(job.id)
    files = {name: facts_of(deployment.outputs / name) for name in deployment.visible()}
    return deployment.job(job), events, units, outputs, files


def test_every_message_twice_gives_the_same_job(deployment):
    deployment.queue = DoublingQueue()
    job = deployment.submit()
    deployment.deliver()
    assert deployment.states(job) == SUCCEEDED
    assert [unit.fence for unit in deployment.store.list_units(job.id)] == [1, 1, 1]
    assert not deployment.is_staging()


def test_messages_that_come_after_the_end_change_nothing(deployment):
    job = deployment.submit()
    deployment.deliver()
    before = snapshot(deployment, job)
    deployment.plan(job.id)
    for unit in deployment.store.list_units(job.id):
        deployment.run_unit(unit.id)
    deployment.publish(job.id)
    assert deployment.queue.sent == []
    assert snapshot(deployment, job) == before
    assert not deployment.is_staging()


def test_second_plan_message_keeps_the_plan_and_sends_the_units_that_wait(deployment):
    job, (first, *others) = deployment.planned()
    deployment.run_unit(first.id)
    before = snapshot(deployment, job)
    deployment.plan(job.id)
    assert snapshot(deployment, job) == before
    assert deployment.queue.sent == [(UNIT, other.id) for other in others]


def test_plan_message_while_another_process_plans_is_dropped(deployment):
    job = deployment.submit()

    def plan_meanwhile(_):
        deployment.plan(job.id, owner="control-2")
        assert deployment.job(job).plan_summary is None

    deployment.on_next_read(plan_meanwhile)
    deployment.plan(job.id, owner="control-1")
    assert len(deployment.store.list_units(job.id)) == 3
    deployment.deliver()
    assert deployment.states(job) == SUCCEEDED


def test_plan_message_that_is_late_for_the_whole_job_does_not_fail_it(deployment):
    job = deployment.submit()

    def sleep_through_the_job(_):
        deployment.clock.advance(3600)
        deployment.plan(job.id, owner="control-2")
        deployment.deliver()
        assert deployment.states(job) == SUCCEEDED

    deployment.on_next_read(sleep_through_the_job)
    deployment.plan(job.id, owner="control-1")
    assert deployment.states(job) == SUCCEEDED


def test_unit_message_while_the_unit_runs_is_dropped(deployment):
    _, (unit, *_) = deployment.planned()
    deployment.on_next_read(lambda _: deployment.run_unit(unit.id, owner="merge-2"))
    deployment.run_unit(unit.id, owner="merge-1")
    assert deployment.store.list_units(unit.job_id)[0].fence == 1


def test_message_of_an_unknown_unit_does_nothing(deployment):
    deployment.run_unit("unit-unknown")
    assert deployment.queue.sent == []
