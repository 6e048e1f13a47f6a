"""What jobs have measured tells how long the next may take."""

import pytest

from crossfade_core.approval import Decision
from crossfade_core.job import Approval, JobState, Phase
from crossfade_core.job_store import NewUnit, Throughput


@pytest.fixture
def measure(store, spec, clock):
    """Take a job through its states; planned at once, it ends `seconds` later."""

    def run(destination: str, sizes: list[int], seconds: float, state: JobState = JobState.SUCCEEDED) -> str:
        clock.advance(1)
        job = store.create_job(spec.model_copy(update={"destination": destination}))
        clock.advance(1000)  # it waits for a worker, which is not its own time
        store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
        clock.advance(3)
        store.save_plan(job.id, {}, [NewUnit({}, size) for size in sizes])
        clock.advance(seconds)
        store.move_job(job.id, state, phase=Phase.DONE)
        return job.id

    return run


def test_nothing_is_measured_before_a_job_has_succeeded(store, measure):
    assert store.throughput("outputs") is None
    measure("outputs", [100], 5, JobState.FAILED)
    assert store.throughput("outputs") is None


def test_jobs_that_made_nothing_or_took_no_time_measure_nothing(store, measure):
    measure("outputs", [], 5)
    measure("outputs", [100], 0)
    assert store.throughput("elsewhere") == Throughput(2, 100, 5.0)
    measure("instant", [100], 0)
    assert store.throughput("instant") is None


def test_bytes_and_seconds_from_plan_to_end_are_added_up(store, measure):
    measure("outputs", [1 << 40, 5], 2)
    measure("outputs", [10], 0.5)
    assert store.throughput("outputs") == Throughput(2, (1 << 40) + 15, 2.5)


def test_jobs_of_the_destination_count_and_others_only_where_it_has_none(store, measure):
    measure("outputs", [100], 1)
    measure("elsewhere", [500], 2)
    assert store.throughput("outputs") == Throughput(1, 100, 1.0)
    assert store.throughput("elsewhere") == Throughput(1, 500, 2.0)
    assert store.throughput("new") == Throughput(2, 600, 3.0)


def test_the_newest_twenty_count(store, measure):
    measure("outputs", [1 << 40], 9)
    for _ in range(20):
        measure("outputs", [3], 2)
    assert store.throughput("outputs") == Throughput(20, 60, 40.0)


def test_job_that_waited_for_its_retry_does_not_count(store, measure, clock):
    job_id = measure("outputs", [100], 5, JobState.FAILED)
    clock.advance(86_400)
    store.retry_job(job_id)
    store.move_job(job_id, JobState.RUNNING, phase=Phase.MERGING)
    clock.advance(1)
    store.move_job(job_id, JobState.SUCCEEDED, phase=Phase.DONE)
    assert store.throughput("outputs") is None


def test_time_that_a_job_waited_for_approval_does_not_count(store, spec, clock):
    job_id = store.create_job(spec).id
    store.move_job(job_id, JobState.RUNNING, phase=Phase.PLANNING)
    store.save_plan(job_id, {}, [NewUnit({}, 100)])
    for position in range(3):
        clock.advance(2)
        store.stage_output(job_id, position, {})
    for position in range(3):
        clock.advance(86_400)
        store.decide_output(job_id, position, Decision(Approval.APPROVED, "reviewer"))
        store.publish_output(job_id, position, f"file:///{position}", {})
    store.move_job(job_id, JobState.SUCCEEDED, phase=Phase.DONE)
    assert store.throughput("outputs") == Throughput(1, 100, 6.0)
