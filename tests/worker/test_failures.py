"""What goes wrong with sources and destinations ends the job with the file named, and leaves nothing behind."""

import errno
import os
import shutil
import struct

import pytest

from crossfade_core.errors import SourceRateLimited, SourceUnavailable
from crossfade_core.messages import PUBLISH, UNIT
from crossfade_worker.run_unit import MAX_FAILURES
from crossfade_worker.sweep import IDLE_SECONDS
from tests.fakes.checkpoints import write_checkpoint

FAILED = ("FAILED", ["FAILED"] * 3)
SHARD = "model-00001-of-00003.safetensors"


def assert_failed_cleanly(deployment, job, code, *named):
    """The job failed with that code, its message names what it should, and nothing is left at the destination."""
    assert deployment.states(job) == FAILED
    error = deployment.job(job).error
    assert error["code"] == code
    assert all(name in error["message"] for name in named), error["message"]
    assert list(deployment.outputs.iterdir()) == []


def test_source_that_is_gone_fails_the_plan(deployment):
    job = deployment.submit()
    shutil.rmtree(deployment.pair.instruct)
    deployment.deliver()
    assert_failed_cleanly(deployment, job, "source_not_found", "local://models/instruct")


def test_corrupt_shard_fails_the_plan(deployment):
    job = deployment.submit()
    os.truncate(deployment.pair.instruct / SHARD, 500)
    deployment.deliver()
    assert_failed_cleanly(deployment, job, "data_truncated", "local://models/instruct", SHARD)


def test_name_that_is_taken_fails_the_plan(deployment):
    job = deployment.submit()
    (deployment.outputs / "instruct-pad-0.5").mkdir()
    deployment.deliver()
    assert deployment.states(job) == FAILED
    assert deployment.job(job).error["code"] == "output_exists"
    assert deployment.visible() == ["instruct-pad-0.5"]
    assert not deployment.is_staging()


def test_destination_that_is_gone_fails_the_plan(deployment):
    job = deployment.submit()
    deployment.outputs.rmdir()
    deployment.deliver()
    assert deployment.states(job) == FAILED
    assert deployment.job(job).error["code"] == "sink_unavailable"


@pytest.mark.parametrize("side", ["base", "instruct"])
def test_source_that_changed_since_the_plan_fails_the_job(deployment, side):
    job, _ = deployment.planned()
    (file, *_) = sorted(getattr(deployment.pair, side).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-2] + b"\0\0")
    deployment.clock.advance(IDLE_SECONDS + 1)
    deployment.sweep()
    deployment.deliver()
    assert_failed_cleanly(deployment, job, "source_changed", f"local://models/{side}", file.name)


def test_source_that_is_rewritten_while_it_is_read_fails_the_job(deployment):
    job, (unit, *_) = deployment.planned()
    path = deployment.pair.instruct / unit.shard["file"]
    deployment.on_next_read(lambda _: path.write_bytes(path.read_bytes()), by_a_thread=True)
    deployment.run_unit(unit.id)
    deployment.deliver()
    assert_failed_cleanly(deployment, job, "source_changed", unit.shard["file"])


def test_source_that_is_cut_while_it_is_read_is_tried_again_and_fails_with_its_file(deployment):
    job, (unit, *_) = deployment.planned()
    path = deployment.pair.instruct / unit.shard["file"]
    deployment.on_next_read(lambda _: os.truncate(path, 1000), by_a_thread=True)
    deployment.run_unit(unit.id)
    assert deployment.queue.sent == []
    deployment.deliver_through_waits()
    assert_failed_cleanly(deployment, job, "source_changed", unit.shard["file"])


def test_source_that_is_away_for_a_moment_costs_an_attempt_only(deployment):
    job, (unit, *others) = deployment.planned()

    def fail(file):
        raise SourceUnavailable(f"{file}: reading failed")

    deployment.on_next_read(fail)
    deployment.run_unit(unit.id)
    for other in others:
        deployment.run_unit(other.id)
    deployment.deliver_through_waits()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    assert deployment.store.list_units(job.id)[0].fence == 2


def test_source_that_stays_away_fails_the_job_after_a_few_attempts(deployment):
    job, (unit, *_) = deployment.planned()

    def fail(file):
        raise SourceUnavailable(f"{file}: reading failed", file=file)

    deployment.on_every_read(fail)
    deployment.run_unit(unit.id)
    deployment.deliver_through_waits()
    assert max(unit.fence for unit in deployment.store.list_units(job.id)) == MAX_FAILURES
    assert_failed_cleanly(deployment, job, "source_unavailable", ".safetensors: reading failed")


def test_each_attempt_waits_longer_than_the_last_and_is_told_in_the_history(deployment):
    job, (unit, *_) = deployment.planned()

    def fail(file):
        raise SourceUnavailable(f"{file}: reading failed", file=file)

    deployment.on_every_read(fail)
    deployment.run_unit(unit.id)
    deployment.deliver_through_waits()
    events = deployment.store.list_events(job.id)
    failed = [event.data for event in events if event.type == "unit.failed" and event.data["position"] == 0]
    assert [(data["failures"], data["error"]["code"]) for data in failed] == [
        (count, "source_unavailable") for count in range(1, MAX_FAILURES)
    ]
    for data, least in zip(failed, (2, 8, 32, 128), strict=True):
        assert least <= data["wait_seconds"] <= 1.25 * least


def test_unit_that_waits_is_not_begun_before_its_time(deployment):
    _, (unit, *others) = deployment.planned()

    def fail(_):
        raise SourceRateLimited("the Hub asks for patience", retry_after_seconds=60)

    deployment.on_next_read(fail)
    deployment.run_unit(unit.id)
    for other in others:
        deployment.run_unit(other.id)
    deployment.clock.advance(59)
    deployment.sweep()
    deployment.run_unit(unit.id)
    assert deployment.queue.sent == []
    assert deployment.store.list_units(unit.job_id)[0].fence == 1
    deployment.clock.advance(20)
    deployment.sweep()
    assert deployment.queue.sent == [(UNIT, unit.id)]
    deployment.sweep()
    assert deployment.queue.sent == [(UNIT, unit.id)]
    deployment.deliver()
    assert deployment.store.get_job(unit.job_id).state == "SUCCEEDED"


def test_bug_in_the_pass_fails_the_job_without_telling_its_insides(deployment):
    job, (unit, *_) = deployment.planned()

    def fail(_):
        raise RuntimeError("password=hunter2")

    deployment.on_every_read(fail)
    deployment.run_unit(unit.id)
    deployment.deliver_through_waits()
    assert deployment.store.list_units(job.id)[0].fence == MAX_FAILURES
    assert_failed_cleanly(deployment, job, "unit_crashed", f"unit 0 ({unit.shard['file']}) crashed (RuntimeError)")
    assert "hunter2" not in str(deployment.job(job).error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to …"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("can't start new thread"),
    ],
)
def test_want_of_memory_is_told_as_such_with_the_way_out(deployment, error):
    job, (unit, *_) = deployment.planned()

    def fail(_):
        raise error

    deployment.on_next_read(fail)
    deployment.run_unit(unit.id)
    (failed,) = [event for event in deployment.store.list_events(job.id) if event.type == "unit.failed"]
    assert failed.data["error"]["code"] == "out_of_memory"
    assert unit.shard["file"] in failed.data["error"]["message"]
    assert "CROSSFADE_THREADS" in failed.data["error"]["message"]


def test_error_that_trying_again_cannot_help_fails_the_job_at_once(deployment):
    for side, steps in (("base", 7), ("instruct", 8)):
        tensors = {"steps": ("I64", (1,), struct.pack("<q", steps)), "weight": ("F32", (2,), b"\0" * 8)}
        shutil.rmtree(getattr(deployment.pair, side))
        write_checkpoint(getattr(deployment.pair, side), tensors)
    job = deployment.submit()
    deployment.deliver()
    assert_failed_cleanly(deployment, job, "tensors_differ", "'steps'")
    assert deployment.store.list_units(job.id)[0].fence == 1


def test_destination_that_goes_away_fails_the_job_after_a_few_attempts(deployment):
    job, (unit, *_) = deployment.planned()
    deployment.outputs.rmdir()
    deployment.run_unit(unit.id)
    deployment.deliver_through_waits()
    assert deployment.store.list_units(job.id)[0].fence == MAX_FAILURES
    assert deployment.states(job) == FAILED
    assert deployment.job(job).error["code"] == "sink_unavailable"


def test_failed_unit_stops_the_others_and_nothing_is_left_of_any(deployment):
    job, (first, second, third) = deployment.planned()

    def fail_the_second_meanwhile(_):
        os.truncate(deployment.pair.instruct / second.shard["file"], 1000)
        deployment.run_unit(second.id, owner="merge-2")
        deployment.deliver()
        assert deployment.job(job).state == "FAILED"
        assert not deployment.is_staging()
        deployment.clock.advance(1)

    deployment.on_next_read(fail_the_second_meanwhile)
    deployment.run_unit(first.id)
    assert deployment.queue.sent == [(PUBLISH, job.id)]
    deployment.deliver()
    deployment.run_unit(third.id)
    assert_failed_cleanly(deployment, job, "source_changed", second.shard["file"])
