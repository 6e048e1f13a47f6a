"""Jobs and workers that meet in one destination at one moment: one wins, nobody is harmed."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import OutputExists, SinkUnavailable
from crossfade_core.job import JobId
from crossfade_registries.local.sink import LocalSink
from tests.registries.staging import FILES, content, publish, stage, visible

JOBS = [JobId(f"job-{number}") for number in range(4)]


def at_once(calls: Sequence[Callable[[], object]]) -> list[object]:
    """Make all calls at the same moment; return what each returned or raised."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        together.wait(30)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("round_number", range(10))
def test_of_jobs_that_publish_one_name_at_once_exactly_one_wins(out, round_number):
    sinks = [LocalSink(out, job) for job in JOBS]
    mine = [{**FILES, "config.json": job.encode()} for job in JOBS]
    staged = [stage(sink, "a/tuned", files) for sink, files in zip(sinks, mine, strict=True)]
    pairs = zip(sinks, staged, strict=True)
    outcomes = at_once([lambda sink=sink, files=files: sink.commit("a/tuned", files) for sink, files in pairs])
    (winner,) = (number for number, outcome in enumerate(outcomes) if isinstance(outcome, str))
    assert all(isinstance(outcome, OutputExists) for outcome in outcomes if not isinstance(outcome, str))
    assert content(out / "a/tuned") == mine[winner]


@pytest.mark.parametrize("round_number", range(5))
def test_jobs_that_stage_publish_and_discard_at_once_do_not_disturb_each_other(out, round_number):
    def whole_life(job: JobId) -> str:
        for attempt in range(5):
            sink = LocalSink(out, job)
            publish(sink, f"{job}-{attempt}")
            sink.discard()
        return "done"

    assert at_once([lambda job=job: whole_life(job) for job in JOBS]) == ["done"] * len(JOBS)
    assert visible(out) == {path.name for path in out.iterdir()} == {f"{job}-{n}" for job in JOBS for n in range(5)}
    assert all(content(path) == FILES for path in out.iterdir())


@pytest.mark.parametrize("round_number", range(5))
def test_one_job_committed_twice_at_once_is_published_once(out, round_number):
    files = stage(LocalSink(out, JOBS[0]), "tuned")
    outcomes = at_once([lambda: LocalSink(out, JOBS[0]).commit("tuned", files)] * 2)
    assert any(isinstance(outcome, str) for outcome in outcomes)
    assert content(out / "tuned") == FILES
    assert LocalSink(out, JOBS[0]).commit("tuned", files) == (out / "tuned").as_uri()


@pytest.mark.parametrize("round_number", range(5))
def test_discard_while_late_workers_stop_leaves_nothing(out, round_number):
    sink = LocalSink(out, JOBS[0])
    writers = [sink.create_file(f"o{number % 3}", f"f{number}", 5) for number in range(200)]
    for writer in writers:
        writer.write(memoryview(b"bytes"))

    def stop_all() -> None:
        for number, writer in enumerate(writers):
            if number % 2:
                try:
                    writer.finish("")
                except SinkUnavailable:
                    writer.abandon()
            else:
                writer.abandon()

    assert at_once([sink.discard, stop_all]) == [None, None]
    assert list(out.iterdir()) == []
