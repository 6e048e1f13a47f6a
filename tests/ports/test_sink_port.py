"""What `Sink` and `FileWriter` promise holds for every registry."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import (
    CrossfadeError,
    OutputExists,
    OutputMoved,
    OutputNameUnsafe,
    ScratchTooSmall,
    SinkError,
    SinkUnavailable,
    StagedFileLost,
)
from crossfade_registries.hub_branch import HUB_FILES
from tests.ports.publishing import (
    FILES,
    JOB,
    NAME,
    OTHER,
    PLANNED,
    SECOND,
    SHARD,
    SHARDS,
    SMALL,
    THEIRS,
    Service,
    below,
)
from tests.registries.staging import facts, publish, stage

EVERY = pytest.mark.parametrize("place", ["local", "s3", "swift", "hub", "xet"], indirect=True)
UNSAFE = ["", "..", "../up", "/abs", ".hidden", "a/../b", "a//b", "a b", "a\nb", "x" * 300]

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the Hub client's own


@pytest.fixture
def service(place, scratch):
    return Service(place, scratch)


@EVERY
def test_output_is_invisible_until_its_commit_and_then_whole(service):
    sink = service.sink()
    sink.check_free(NAME)
    staged = stage(sink, NAME, FILES)
    assert service.place.visible() == {}
    uri = sink.commit(NAME, staged)
    assert service.place.visible() == below(NAME, FILES)
    sink.discard()
    assert service.place.visible() == below(NAME, FILES)
    assert service.place.staged() == set()
    assert {file: body for file, body in service.read(uri).items() if file not in HUB_FILES} == FILES


@EVERY
def test_shards_may_be_staged_by_other_processes_than_the_one_that_commits(service):
    for file, content in SHARDS.items():
        stage(service.restarted().sink(), NAME, {file: content})
    committer = service.sink()
    stage(committer, NAME, SMALL)
    committer.commit(NAME, PLANNED)
    assert service.place.visible() == below(NAME, FILES)


@pytest.mark.parametrize("by", ["the same process", "another process"])
def test_commit_again_finds_the_published_output(service, by):
    sink = service.sink()
    uri = publish(sink, NAME, FILES)
    if by == "another process":
        sink = service.restarted().sink()
        stage(sink, NAME, SMALL)
    assert sink.commit(NAME, PLANNED) == uri
    sink.discard()
    assert service.place.visible() == below(NAME, FILES)
    assert service.place.staged() == set()


def test_outputs_of_one_job_are_staged_at_once_by_several_threads(service):
    sink, names = service.sink(), [f"{NAME}-{number}" for number in range(3)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: stage(sink, name, FILES), names))
    for name in names:
        sink.commit(name, PLANNED)
    sink.discard()
    assert service.place.visible() == {path: body for name in names for path, body in below(name, FILES).items()}
    assert service.place.staged() == set()


@pytest.mark.parametrize("is_shard", [False, True])
@pytest.mark.parametrize("wrong", ["missing", "extra", "size", "digest"])
def test_output_that_is_not_as_planned_is_refused_and_the_planned_one_still_published(service, wrong, is_shard):
    if wrong == "digest" and service.place.writing()["kind"] == "local":
        return  # a file system is believed: it keeps no digest to compare with
    file = SECOND if is_shard else "config.json"
    sink = service.sink()
    stage(sink, NAME, FILES)
    about = PLANNED[file]
    others = {name: each for name, each in PLANNED.items() if name != file}
    planned = {
        "missing": {**PLANNED, f"un{file}": dataclasses.replace(about, sha256="1" * 64)},
        "extra": others,
        "size": {**others, file: dataclasses.replace(about, size_bytes=about.size_bytes + 1)},
        "digest": {**others, file: dataclasses.replace(about, sha256="0" * 64)},
    }[wrong]
    with pytest.raises(SinkError, match=f"{file}|{'1' * 64}") as caught:
        sink.commit(NAME, planned)
    assert caught.value.details["output"] == NAME
    assert service.place.visible() == {}
    sink.commit(NAME, PLANNED)
    assert service.place.visible() == below(NAME, FILES)


def test_shard_that_nobody_staged_is_missed_by_the_process_that_commits(service):
    stage(service.sink(), NAME, {SHARD: FILES[SHARD]})
    committer = service.sink()
    stage(committer, NAME, SMALL)
    with pytest.raises(SinkError, match=f"{SECOND}|{PLANNED[SECOND].sha256}") as caught:
        committer.commit(NAME, PLANNED)
    assert caught.value.details["output"] == NAME
    assert service.place.visible() == {}
    stage(service.sink(), NAME, {SECOND: FILES[SECOND]})
    committer.commit(NAME, PLANNED)
    assert service.place.visible() == below(NAME, FILES)


@pytest.mark.parametrize("file", ["config.json", SHARD])
@pytest.mark.parametrize("excess_bytes", [-1, 1])
def test_file_of_another_size_than_announced_is_not_staged(service, file, excess_bytes):
    sink = service.sink()
    writer = sink.create_file(NAME, file, len(FILES[file]))
    writer.write(memoryview(bytes(len(FILES[file]) + excess_bytes)))
    with pytest.raises(SinkUnavailable, match=rf"{file}: {len(FILES[file]) + excess_bytes} bytes written"):
        writer.finish("0" * 64)
    writer.abandon()
    publish(sink, NAME, FILES)
    assert service.place.visible() == below(NAME, FILES)


@pytest.mark.parametrize("file", ["config.json", SHARD])
def test_writer_is_abandoned_at_any_time_and_nothing_stays(service, file):
    sink = service.sink()
    for written in (0, len(FILES[file]) // 2, len(FILES[file])):
        writer = sink.create_file(NAME, file, len(FILES[file]))
        writer.write(memoryview(FILES[file][:written]))
        writer.abandon()
        writer.abandon()
    assert service.place.staged() == set()
    again = sink.create_file(NAME, file, len(FILES[file]))
    again.write(memoryview(FILES[file]))
    again.finish(PLANNED[file].sha256)
    again.abandon()
    stage(sink, NAME, {name: content for name, content in FILES.items() if name != file})
    sink.commit(NAME, PLANNED)
    assert service.place.visible() == below(NAME, FILES)


def test_attempt_that_died_over_half_a_file_is_in_nobodys_way(service):
    dead = service.sink().create_file(NAME, SHARD, len(FILES[SHARD]))
    dead.write(memoryview(FILES[SHARD])[: 5 << 20])
    sink = service.sink()
    publish(sink, NAME, FILES)
    sink.discard()
    assert service.place.visible() == below(NAME, FILES)
    assert service.place.staged() == set()
    dead.abandon()


def test_second_attempt_at_a_file_replaces_the_first(service):
    sink = service.sink()
    stage(sink, NAME, {**FILES, SECOND: b"of the first attempt", "config.json": b"{}"})
    publish(sink, NAME, FILES)
    assert service.place.visible() == below(NAME, FILES)


def test_discard_leaves_nothing_of_the_job_and_everything_else(service):
    publish(service.sink(OTHER), "published", THEIRS)
    stage(service.sink(OTHER), "theirs", THEIRS)
    theirs = service.place.staged()
    sink = service.sink()
    publish(sink, NAME, FILES)
    stage(sink, f"{NAME}-2", FILES)
    for _ in range(2):
        service.sink().discard()
        sink.discard()
    assert service.place.visible() == below("published", THEIRS) | below(NAME, FILES)
    assert service.place.staged() == theirs


def test_discard_where_nothing_was_staged_does_nothing(service):
    service.sink().discard()
    assert service.place.visible() == {}
    assert service.place.staged() == set()


def test_output_that_is_there_is_not_replaced_unless_the_job_says_so(service):
    publish(service.sink(OTHER), NAME, THEIRS)
    sink = service.sink()
    with pytest.raises(OutputExists, match="set overwrite to replace it") as caught:
        sink.check_free(NAME)
    assert caught.value.details["output"] == NAME
    with pytest.raises(OutputExists):
        publish(sink, NAME, FILES)
    sink.discard()
    assert service.place.visible() == below(NAME, THEIRS)


@EVERY
def test_overwritten_output_leaves_no_file_behind(service):
    publish(service.sink(OTHER), NAME, THEIRS)
    service.sink(OTHER).discard()
    sink = service.sink(overwrite=True)
    sink.check_free(NAME)
    publish(sink, NAME, FILES)
    sink.discard()
    assert service.place.visible() == below(NAME, FILES)
    assert service.place.staged() == set()


def test_files_that_are_no_output_are_not_even_overwritten(service):
    service.place.put_output(NAME, {"notes.txt": b"years of work"})
    sink = service.sink(overwrite=True)
    with pytest.raises(OutputNameUnsafe, match="only outputs are replaced"):
        sink.check_free(NAME)
    with pytest.raises(OutputNameUnsafe):
        publish(sink, NAME, FILES)
    sink.discard()
    assert service.place.visible() == below(NAME, {"notes.txt": b"years of work"})


def test_of_two_jobs_of_one_name_the_first_to_commit_is_published(service):
    first, second = service.sink(), service.sink(OTHER)
    planned = stage(first, NAME, FILES), stage(second, NAME, THEIRS)
    second.commit(NAME, planned[1])
    with pytest.raises(OutputExists) as caught:
        first.commit(NAME, planned[0])
    assert caught.value.details["output"] == NAME
    first.discard()
    second.discard()
    assert service.place.visible() == below(NAME, THEIRS)
    assert service.place.staged() == set()


def test_of_two_jobs_that_commit_one_name_at_once_one_is_published(service):
    contents = {JOB: FILES, OTHER: THEIRS}
    sinks = {job: service.sink(job) for job in contents}
    planned = {job: stage(sinks[job], NAME, contents[job]) for job in contents}
    start = threading.Barrier(len(contents))

    def commit(job):
        start.wait(30)
        try:
            sinks[job].commit(NAME, planned[job])
        except (OutputExists, OutputMoved) as error:
            return error
        return None

    with ThreadPoolExecutor(len(contents)) as pool:
        refused = dict(zip(contents, pool.map(commit, contents), strict=True))
    for sink in sinks.values():
        sink.discard()
    (winner,) = (job for job, error in refused.items() if error is None)
    assert service.place.visible() == below(NAME, contents[winner])
    assert service.place.staged() == set()


@pytest.mark.parametrize("name", UNSAFE)
def test_name_that_leads_elsewhere_is_refused_whatever_is_asked(service, name):
    sink = service.sink()
    for refused in (
        lambda: sink.check_free(name),
        lambda: sink.create_file(name, "config.json", 1),
        lambda: sink.commit(name, PLANNED),
        lambda: sink.create_file(NAME, name or "a/b", 1),
    ):
        with pytest.raises(OutputNameUnsafe):
            refused()
    assert service.place.visible() == {}


def test_unit_that_fits_no_disk_is_refused_only_where_it_would_pass_one(service):
    sink = service.sink()
    sink.check_room(1 << 20, 3)
    is_hub = service.place.writing()["kind"] == "hub"
    try:
        sink.check_room(1 << 60, 3)
    except ScratchTooSmall as error:
        assert is_hub
        assert error.details["scratch"] == str(service.scratch)
    else:
        assert not is_hub


def test_error_of_a_commit_is_one_of_ours_and_says_whether_to_try_again(service):
    with pytest.raises(CrossfadeError) as caught:
        service.sink().commit(NAME, facts({"lineage.json": b"{}"}))
    assert isinstance(caught.value, SinkError)
    assert not caught.value.retryable
    assert isinstance(caught.value, StagedFileLost) or "lineage.json" in caught.value.message
