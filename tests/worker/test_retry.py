"""A failed job that is retried keeps what its units have staged, as long as that is any use."""

import errno
import os

import pytest

from crossfade_core.errors import DiskFull, NonFinite, SinkUnavailable, SourceUnavailable
from crossfade_core.job import JobState, Phase, UnitState
from crossfade_core.messages import PLAN, PUBLISH
from crossfade_registries.local.sink import LocalSink
from crossfade_registries.local.writer import LocalFileWriter
from crossfade_worker.keeping import Keeping
from crossfade_worker.sweep import IDLE_SECONDS
from tests.worker.deployment import facts_of

HOUR = 3600.0
SUCCEEDED = ("SUCCEEDED", ["PUBLISHED"] * 3)


@pytest.fixture
def keeping(deployment):
    """A deployment that keeps what failed jobs have staged for an hour."""
    deployment.keep_failed_seconds = HOUR
    return deployment


def fail(deployment, error=None):
    """Let a job fail in its second unit, with its first done."""
    job, (first, second, *_) = deployment.planned()
    deployment.run_unit(first.id)

    def refuse(_: str) -> None:
        raise error or SourceUnavailable("the registry is away")

    deployment.on_every_read(refuse)
    for _ in range(5):
        deployment.run_unit(second.id)
        deployment.clock.advance(400)
    deployment.on_every_read(lambda _: None)
    deployment.deliver()
    assert deployment.job(job).state is JobState.FAILED
    return job


def retry(deployment, job):
    deployment.store.retry_job(job.id)
    deployment.queue.send(PLAN, job.id)
    deployment.deliver()


def starts(deployment, job):
    return [e.data["position"] for e in deployment.store.list_events(job.id) if e.type == "unit.started"]


def test_retried_job_does_not_begin_its_finished_units_again(keeping):
    job = fail(keeping)
    assert keeping.is_staging()
    assert keeping.visible() == []
    before = len(starts(keeping, job))
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED
    assert 0 not in starts(keeping, job)[before:]
    assert not keeping.is_staging()


def test_retried_job_makes_the_same_bytes(keeping):
    retry(keeping, fail(keeping))
    outputs = {name: facts_of(keeping.outputs / name) for name in keeping.visible()}
    undisturbed = keeping.submit(output_name="again-{lambda}")
    keeping.deliver()
    for lam in ("0.0", "0.5", "1.0"):
        again = facts_of(keeping.outputs / f"again-{lam}")
        shards = [name for name in again if name.endswith(".safetensors")]
        assert {name: outputs[f"instruct-pad-{lam}"][name] for name in shards} == {name: again[name] for name in shards}
    assert keeping.states(undisturbed) == SUCCEEDED


def test_what_was_staged_goes_when_its_time_is_over_and_a_late_retry_makes_it_again(keeping):
    job = fail(keeping)
    keeping.clock.advance(HOUR + IDLE_SECONDS)
    keeping.sweep()
    assert keeping.queue.sent == [(PUBLISH, job.id)]
    keeping.sweep()
    assert keeping.queue.sent == [(PUBLISH, job.id)], "asked for once in a while only"
    keeping.deliver()
    assert not keeping.is_staging()
    assert keeping.job(job).staged_until is None
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED
    assert starts(keeping, job).count(0) == 2


def test_late_message_of_a_failed_job_does_not_take_what_is_kept(keeping):
    job = fail(keeping)
    keeping.publish(job.id)
    assert keeping.is_staging()
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED


@pytest.mark.parametrize("error", [DiskFull("no room"), NonFinite("NaN in the base")], ids=lambda error: error.code)
def test_what_no_retry_can_use_or_others_need_goes_at_once(keeping, error):
    job = fail(keeping, error)
    assert keeping.job(job).staged_until is None
    assert not keeping.is_staging()
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED


def test_full_disk_is_told_as_such(keeping, monkeypatch):
    job, (unit, *_) = keeping.planned()

    def refuse(self: LocalFileWriter, buffer: memoryview) -> None:
        raise self._refused(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    monkeypatch.setattr(LocalFileWriter, "write", refuse)
    for _ in range(5):
        keeping.run_unit(unit.id)
        keeping.clock.advance(400)
    error = keeping.job(job).error
    assert (error["code"], error["blame"]) == ("disk_full", "service")
    assert "No space left on device; make room there" in error["message"]


def test_output_that_could_not_be_published_is_published_by_a_retry_without_merging_again(keeping):
    job = keeping.merged()
    (keeping.outputs / "instruct-pad-0.5").mkdir()
    keeping.publish(job.id)
    assert keeping.states(job) == ("PARTIALLY_SUCCEEDED", ["PUBLISHED", "FAILED", "PUBLISHED"])
    (keeping.outputs / "instruct-pad-0.5").rmdir()
    before = len(starts(keeping, job))
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED
    assert len(starts(keeping, job)) == before


def test_staged_shard_that_is_gone_is_made_by_the_retry_after(keeping):
    job = fail(keeping)
    (staged, *_) = keeping.outputs.rglob("model-00001-of-00003.safetensors")
    staged.unlink()
    retry(keeping, job)
    assert keeping.job(job).state is not JobState.SUCCEEDED
    assert keeping.job(job).staged_until is None
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED


def test_job_that_failed_while_it_was_planned_is_planned_again(keeping):
    job = keeping.submit()
    folder = keeping.pair.instruct
    folder.rename(folder.with_name("away"))
    keeping.deliver()
    assert keeping.job(job).state is JobState.FAILED
    folder.with_name("away").rename(folder)
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED


def test_cancel_of_a_retried_job_takes_everything_staged(keeping):
    job = fail(keeping)
    keeping.store.retry_job(job.id)
    keeping.plan(job.id)
    keeping.cancel(job.id)
    keeping.drop_messages()
    keeping.publish(job.id)
    assert keeping.job(job).state is JobState.CANCELLED
    assert not keeping.is_staging()


def test_cancel_of_a_retried_job_before_it_is_planned_takes_everything_staged(keeping):
    job = fail(keeping)
    keeping.store.retry_job(job.id)
    assert keeping.store.list_units(job.id)[0].state is UnitState.DONE
    keeping.store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE, staged_until=keeping.clock.now())
    keeping.clock.advance(IDLE_SECONDS)
    keeping.sweep()
    assert keeping.queue.sent == [(PUBLISH, job.id)]
    keeping.deliver()
    assert not keeping.is_staging()
    assert keeping.job(job).state is JobState.CANCELLED


def test_retry_whose_message_is_lost_is_sent_again_by_the_sweep(keeping):
    job = fail(keeping)
    keeping.store.retry_job(job.id)
    keeping.drop_messages()
    keeping.clock.advance(IDLE_SECONDS + 1)
    keeping.sweep()
    assert keeping.queue.sent == [(PLAN, job.id)]
    keeping.deliver()
    assert keeping.states(job) == SUCCEEDED


@pytest.mark.parametrize("late", [None, SourceUnavailable("reading failed"), NonFinite("NaN in the base")])
def test_worker_of_the_attempt_before_neither_ends_a_unit_of_the_retry_nor_fails_it(keeping, late):
    job, (first, second, third) = keeping.planned()
    keeping.run_unit(first.id)

    def fail_and_retry(_):
        keeping.on_every_read(lambda _: None)
        claimed = keeping.store.claim_unit(third.id, "merge-2", 30)
        keeping.store.release_unit(third.id, claimed.fence)
        keeping.store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=NonFinite("NaN").as_record())
        keeping.store.retry_job(job.id)
        keeping.plan(job.id)
        keeping.drop_messages()
        if late is not None:
            raise late

    keeping.on_next_read(fail_and_retry)
    keeping.run_unit(second.id)
    assert keeping.job(job).state is JobState.RUNNING
    assert keeping.store.list_units(job.id)[1].state is UnitState.PENDING
    keeping.queue.send(PLAN, job.id)
    keeping.deliver()
    assert keeping.states(job) == SUCCEEDED


def test_deadline_while_publishing_keeps_what_it_says_it_keeps(keeping):
    job, units = keeping.planned(deadline_seconds=HOUR)
    for unit in units:
        keeping.run_unit(unit.id)
    keeping.drop_messages()

    def overdue(_):
        keeping.clock.advance(HOUR)
        keeping.sweep()

    keeping.on_next_read(overdue, "config.json")
    keeping.publish(job.id)
    keeping.deliver()
    assert keeping.job(job).error["code"] == "deadline_exceeded"
    assert keeping.job(job).staged_until > keeping.clock.now()
    assert keeping.is_staging()
    before = len(starts(keeping, job))
    retry(keeping, job)
    assert keeping.states(job) == SUCCEEDED
    assert len(starts(keeping, job)) == before


@pytest.mark.parametrize("moment", ["failed", "cancelled"])
def test_staging_that_could_not_be_removed_is_removed_when_its_destination_is_back(keeping, monkeypatch, moment):
    discard = LocalSink.discard

    def away(_: LocalSink) -> None:
        raise SinkUnavailable("the destination is away")

    monkeypatch.setattr(LocalSink, "discard", away)
    if moment == "failed":
        job = fail(keeping, DiskFull("no room"))
    else:
        job, (unit, *_) = keeping.planned()
        keeping.run_unit(unit.id)
        keeping.cancel(job.id)
        keeping.deliver()
        assert keeping.job(job).state is JobState.CANCELLED
    assert keeping.is_staging()
    monkeypatch.setattr(LocalSink, "discard", discard)
    keeping.clock.advance(IDLE_SECONDS + 1)
    keeping.sweep()
    keeping.deliver()
    assert not keeping.is_staging()
    assert keeping.job(job).staged_until is None


def test_full_disk_gives_the_room_back_also_where_the_message_is_lost(keeping):
    job, (unit, *_) = keeping.planned()
    keeping.run_unit(unit.id)
    error = DiskFull("no room")
    until = Keeping(keeping.clock, HOUR).until(error.as_record())
    keeping.store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=error.as_record(), staged_until=until)
    keeping.drop_messages()
    keeping.clock.advance(IDLE_SECONDS + 1)
    keeping.sweep()
    keeping.deliver()
    assert not keeping.is_staging()
