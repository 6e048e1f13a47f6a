"""What `Sink` and `FileWriter` promise holds for every registry."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import (
    CrossfadeError,
    OutputNameUnsafe,
    ScratchTooSmall,
    SinkError,
    SinkUnavailable,
    StagedFileLost,
)
from crossfade_registries.hub.branch import HUB_FILES
from tests.ports.outcomes import attempted
from tests.ports.publishing import FILES, IGNORED, NAME, PLANNED, SECOND, SHARD, SHARDS, SMALL, Service, below
from tests.registries.staging import facts, publish, stage

EVERY = pytest.mark.parametrize("place", ["local", "s3", "swift", "hub", "xet"], indirect=True)
UNSAFE = ["", "..", "../up", "/abs", ".hidden", "a/../b", "a//b", "a b", "a\nb", "x" * 300]

pytestmark = pytest.mark.filterwarnings(IGNORED)


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


@EVERY
def test_published_output_is_known_again_by_its_files_and_by_no_others(service):
    assert not service.sink().holds(NAME, PLANNED)
    publish(service.sink(), NAME, FILES)
    sink = service.restarted().sink()
    assert sink.holds(NAME, PLANNED)
    assert not sink.holds(f"{NAME}-2", PLANNED)
    is_hub = service.place.writing()["kind"] == "hub"
    for file in (SHARD, "config.json", "lineage.json"):
        about, others = PLANNED[file], {name: each for name, each in PLANNED.items() if name != file}
        assert not sink.holds(NAME, {**others, file: dataclasses.replace(about, size_bytes=about.size_bytes + 1)})
        assert not sink.holds(NAME, {**PLANNED, f"un{file}": about})
        assert not sink.holds(NAME, others)
        if file == (SHARD if is_hub else "lineage.json"):
            assert not sink.holds(NAME, {**others, file: dataclasses.replace(about, sha256="0" * 64)})


def test_outputs_of_one_job_are_staged_at_once_by_several_threads(service):
    sink, names = service.sink(), [f"{NAME}-{number}" for number in range(3)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: stage(sink, name, FILES), names))
    for name in names:
        sink.commit(name, PLANNED)
    sink.discard()
    assert service.place.visible() == {path: body for name in names for path, body in below(name, FILES).items()}
    assert service.place.staged() == set()


@pytest.mark.parametrize("wrong", ["missing", "extra", "size", "digest"])
def test_output_that_is_not_as_planned_is_refused_and_the_planned_one_still_published(service, wrong):
    sink = service.sink()
    stage(sink, NAME, FILES)
    for file in ("config.json", SECOND):
        if wrong == "digest" and service.place.writing()["kind"] == "local":
            continue  # a file system is believed: it keeps no digest to compare with
        about, others = PLANNED[file], {name: each for name, each in PLANNED.items() if name != file}
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
def test_file_of_another_size_than_announced_is_not_staged(service, file):
    sink = service.sink()
    for written in (len(FILES[file]) - 1, len(FILES[file]) + 1):
        writer = sink.create_file(NAME, file, len(FILES[file]))
        writer.write(memoryview(bytes(written)))
        with pytest.raises(SinkUnavailable, match=f"{file}: {written} bytes written"):
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


def test_name_that_leads_elsewhere_is_refused_whatever_is_asked(service):
    sink = service.sink()

    def check_refuses(ask, *args):
        with pytest.raises(OutputNameUnsafe):
            ask(*args)

    for name in UNSAFE:
        check_refuses(sink.check_free, name)
        check_refuses(sink.create_file, name, "config.json", 1)
        check_refuses(sink.create_file, NAME, name or "a/b", 1)
        check_refuses(sink.commit, name, PLANNED)
    assert service.place.visible() == {}
    assert service.place.staged() == set()


def test_unit_that_fits_no_disk_is_refused_only_where_it_would_pass_one(service):
    sink = service.sink()
    sink.check_room(1 << 20, 3)
    _, error = attempted(lambda: sink.check_room(1 << 60, 3))
    if service.place.writing()["kind"] == "hub":
        assert isinstance(error, ScratchTooSmall)
        assert error.details["scratch"] == str(service.scratch)
        assert error.details["needed_bytes"] == sink.scratch_bytes(1 << 60, 3)
    else:
        assert error is None
        assert sink.scratch_bytes(1 << 60, 3) == 0


def test_error_of_a_commit_is_one_of_ours_and_says_whether_to_try_again(service):
    with pytest.raises(CrossfadeError) as caught:
        service.sink().commit(NAME, facts({"lineage.json": b"{}"}))
    assert isinstance(caught.value, SinkError)
    assert not caught.value.retryable
    assert isinstance(caught.value, StagedFileLost) or "lineage.json" in caught.value.message
