"""Of jobs that make the same, one is under way at a time, and the newest that stands is found."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import AlreadyUnderWay
from crossfade_core.job import JobState, Phase
from crossfade_core.job_store import Submission
from crossfade_stores.job_store import SqlJobStore

DIGEST = "sha256:" + "ab" * 32
SAME = Submission(merge_digest=DIGEST)


def test_job_that_is_under_way_is_not_begun_again(store, spec):
    job = store.create_job(spec, SAME)
    for state in (JobState.QUEUED, JobState.RUNNING):
        assert store.get_job(job.id).state is state
        with pytest.raises(AlreadyUnderWay) as refused:
            store.create_job(spec, SAME)
        assert refused.value.details == {"job": job.id}
        if state is JobState.QUEUED:
            store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    assert store.create_job(spec.model_copy(update={"fresh": True}), SAME).id != job.id
    assert store.create_job(spec, Submission(merge_digest=DIGEST[:-1] + "c")).id != job.id


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLING])
def test_job_that_has_ended_or_is_cancelled_stands_in_nobodys_way(store, spec, clock, end):
    job = store.create_job(spec, SAME)
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    store.move_job(job.id, end, phase=Phase.DONE)
    found = store.find_merge(DIGEST)
    assert (found and found.id) == (job.id if end is JobState.SUCCEEDED else None)
    clock.advance(1)  # ids sort by age
    newer = store.create_job(spec, SAME)
    assert store.find_merge(DIGEST).id == newer.id


def test_of_submissions_at_once_one_is_stored(engine, clock, spec):
    def submit(_: int) -> str:
        try:
            return SqlJobStore(engine, clock).create_job(spec, SAME).id
        except AlreadyUnderWay as error:
            return str(error.details["job"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(submit, range(16)))) == 1
    assert len(SqlJobStore(engine, clock).list_jobs()) == 1


def test_plan_says_what_the_job_is_really_made_of(store, spec):
    job = store.create_job(spec, SAME)
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    store.save_plan(job.id, {}, [], merge_digest="sha256:other")
    assert store.find_merge(DIGEST) is None
    assert store.find_merge("sha256:other").id == job.id
