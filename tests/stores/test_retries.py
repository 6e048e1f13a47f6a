"""A failed job goes back to the queue; its finished units stay done as long as what they staged is kept."""

from datetime import timedelta

import pytest

from crossfade_core.errors import AlreadyUnderWay, IllegalTransition, JobNotFound, LeaseLost, QueueLimitReached
from crossfade_core.job import JobState, OutputState, Phase, UnitState
from crossfade_core.job_store import Submission
from crossfade_core.key_store import NewKey
from crossfade_core.keys import Scope
from crossfade_stores.key_store import SqlKeyStore

ERROR = {"code": "source_unavailable", "message": "away", "blame": "upstream", "retryable": True, "details": {}}
KEPT = timedelta(hours=1)


@pytest.fixture
def failed_job(store, running_job, clock):
    """Make a job of three units that failed with the first done, the second failed five times, the third killed."""

    def make(*, is_kept: bool):
        job_id, units = running_job(3)
        first = store.claim_unit(units[0].id, "w", 30)
        store.complete_unit(first.id, first.fence, {"outputs": ["a"]})
        second = store.claim_unit(units[1].id, "w", 30)
        store.fail_unit(second.id, second.fence, 60, ERROR)
        third = store.claim_unit(units[2].id, "w", 30)
        clock.advance(31)
        store.expire_unit(third.id, third.fence)
        until = clock.now() + KEPT if is_kept else None
        store.move_job(job_id, JobState.FAILED, phase=Phase.DONE, error=ERROR, staged_until=until)
        return job_id

    return make


@pytest.mark.parametrize("is_kept", [True, False])
def test_retried_job_waits_anew_with_the_units_that_are_kept(store, failed_job, is_kept):
    job_id = failed_job(is_kept=is_kept)
    assert (store.get_job(job_id).staged_until is not None) == is_kept
    job = store.retry_job(job_id)
    assert (job.state, job.phase, job.error) == (JobState.QUEUED, Phase.WAITING, None)
    assert (job.started_at, job.finished_at, job.staged_until) == (None, None, None)
    assert {output.state for output in store.list_outputs(job_id)} == {OutputState.PENDING}
    units = store.list_units(job_id)
    assert [unit.state for unit in units] == [UnitState.DONE if is_kept else UnitState.PENDING, "PENDING", "PENDING"]
    assert (units[0].result is not None) == is_kept
    assert {(unit.failures, unit.deaths, unit.not_before) for unit in units} == {(0, 0, None)}
    last = store.list_events(job_id)[-1]
    assert (last.type, last.data["units_kept"]) == ("job.retried", int(is_kept))
    assert store.progress(job_id).units_done == int(is_kept)


def test_what_is_published_stays_published(store, running_job):
    job_id, _ = running_job(1)
    store.publish_output(job_id, 0, "file:///out", {})
    store.fail_output(job_id, 1, ERROR)
    store.move_job(job_id, JobState.PARTIALLY_SUCCEEDED, phase=Phase.DONE, error=ERROR)
    store.retry_job(job_id)
    outputs = store.list_outputs(job_id)
    assert [output.state for output in outputs] == ["PUBLISHED", "PENDING", "PENDING"]
    assert outputs[1].error is None


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED, JobState.SUCCEEDED])
def test_job_that_has_not_failed_is_not_retried(store, spec, state):
    job = store.create_job(spec)
    if state is JobState.SUCCEEDED:
        store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    if state is not JobState.QUEUED:
        store.move_job(job.id, state, phase=Phase.DONE)
    with pytest.raises(IllegalTransition, match=f"{state} cannot be retried"):
        store.retry_job(job.id)


def test_unknown_job_is_not_retried(store):
    with pytest.raises(JobNotFound):
        store.retry_job("job-nowhere")


def test_deadline_of_a_retried_job_begins_anew(store, spec, clock):
    job = store.create_job(spec.model_copy(update={"deadline_seconds": 100.0}))
    clock.advance(200)
    store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=ERROR)
    assert store.retry_job(job.id).deadline_at == clock.now() + timedelta(seconds=100)
    assert store.overdue_jobs() == []


def test_job_that_has_kept_its_shards_for_long_enough_is_found_until_they_are_forgotten(store, failed_job, clock):
    job_id = failed_job(is_kept=True)
    failed_job(is_kept=False)
    assert store.staged_jobs(30) == []
    clock.advance(KEPT.total_seconds())
    assert [job.id for job in store.staged_jobs(30)] == [job_id]
    store.touch_job(job_id)
    assert store.staged_jobs(30) == []
    clock.advance(30)
    store.forget_staged(job_id)
    assert store.staged_jobs(30) == []
    store.retry_job(job_id)
    assert store.progress(job_id).units_done == 0


def test_job_that_another_makes_by_now_is_not_retried_beside_it(store, spec):
    same = Submission(merge_digest="sha256:same")
    job = store.create_job(spec, same)
    store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=ERROR)
    other = store.create_job(spec, same)
    with pytest.raises(AlreadyUnderWay, match=other.id):
        store.retry_job(job.id)
    store.move_job(other.id, JobState.CANCELLED, phase=Phase.DONE)
    assert store.retry_job(job.id).state is JobState.QUEUED


def test_job_with_a_name_of_its_own_is_retried_beside_another(store, spec):
    own = spec.model_copy(update={"output_name": "{job}/{lambda}"})
    submission = Submission(merge_digest="sha256:same")
    job = store.create_job(own, submission)
    store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=ERROR)
    store.create_job(own, submission)
    assert store.retry_job(job.id).state is JobState.QUEUED


def test_retry_counts_against_the_limit_of_the_key_that_submitted_it(store, engine, clock, spec):
    SqlKeyStore(engine, clock).create_key(NewKey("alice", frozenset({Scope.SUBMIT}), max_jobs=1), "operator")
    job = store.create_job(spec, Submission("alice"))
    store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=ERROR)
    other = store.create_job(spec, Submission("alice"))
    with pytest.raises(QueueLimitReached):
        store.retry_job(job.id)
    store.move_job(other.id, JobState.CANCELLED, phase=Phase.DONE)
    assert store.retry_job(job.id).state is JobState.QUEUED


def test_retry_takes_units_from_whoever_still_works_on_them(store, running_job):
    job_id, (unit,) = running_job(1)
    held = store.claim_unit(unit.id, "slow", 30)
    store.move_job(job_id, JobState.FAILED, phase=Phase.DONE, error=ERROR)
    store.retry_job(job_id)
    with pytest.raises(LeaseLost):
        store.complete_unit(unit.id, held.fence, {})
    assert not store.release_unit(unit.id, held.fence)
    assert store.list_units(job_id)[0].state is UnitState.PENDING
