"""Somebody else writes to the same place at the same time: one of them is there whole, the other knows it is not."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import OutputExists, OutputMoved, SinkError
from crossfade_core.job import JobId
from tests.registries.hub_sink.publishing import FILES, IGNORED, REPO, asked, destination, held
from tests.registries.staging import stage

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.mark.parametrize(("outputs", "name"), [("repo", "tuned"), ("branch", "tuned/main"), ("branch", "tuned/0.5")])
def test_of_jobs_that_race_for_one_name_one_wins_whole(hub, opened, outputs, name):
    jobs = [JobId(f"job-{number}") for number in range(4)]
    contents = {job: {**FILES, "model.safetensors": job.encode() * 999, "lineage.json": job.encode()} for job in jobs}
    sinks = {job: opened(job=job, to=destination(outputs)) for job in jobs}
    staged = {job: stage(sinks[job], name, contents[job]) for job in jobs}
    barrier = threading.Barrier(len(jobs))

    def commit(job):
        barrier.wait(30)
        try:
            return sinks[job].commit(name, staged[job])
        except (OutputExists, OutputMoved):
            return None

    with ThreadPoolExecutor(len(jobs)) as pool:
        uris = dict(zip(jobs, pool.map(commit, jobs), strict=True))
    (winner,) = [job for job, uri in uris.items() if uri is not None]
    assert held(hub, revision=name.partition("/")[2] or "main") == contents[winner]


@pytest.mark.parametrize("overwrite", [False, True])
def test_commit_on_a_head_that_moved_is_refused_and_changes_nothing(hub, opened, monkeypatch, overwrite):
    sink = opened(overwrite=overwrite)
    staged = stage(sink, "tuned", FILES)
    create = sink._api.create_commit

    def others_first(*args, **options):
        hub.push(REPO, {"theirs": b"theirs"})
        return create(*args, **options)

    monkeypatch.setattr(sink._api, "create_commit", others_first)
    with pytest.raises(OutputMoved, match=r"hf://team/tuned: .*somebody else changed it") as caught:
        sink.commit("tuned", staged)
    assert isinstance(caught.value, SinkError)
    assert held(hub) == {"theirs": b"theirs"}
    assert asked(hub, path="/commit/") == 1


def test_output_that_appears_after_the_early_check_is_not_replaced(hub, opened):
    sink = opened()
    sink.check_free("tuned")
    staged = stage(sink, "tuned", FILES)
    hub.push(REPO, {"theirs": b"theirs"})
    with pytest.raises(OutputExists):
        sink.commit("tuned", staged)
    assert held(hub) == {"theirs": b"theirs"}
