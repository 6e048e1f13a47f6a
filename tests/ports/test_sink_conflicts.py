"""An output that is there, another job, an attempt that died: a sink leaves theirs alone, and nothing of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import OutputExists, OutputMoved, OutputNameUnsafe
from tests.ports.publishing import FILES, IGNORED, JOB, NAME, OTHER, SECOND, SHARD, THEIRS, Service, below
from tests.registries.staging import publish, stage

EVERY = pytest.mark.parametrize("place", ["local", "s3", "swift", "hub", "xet"], indirect=True)

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.fixture
def service(place, scratch):
    return Service(place, scratch)


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


def test_second_attempt_at_a_file_replaces_the_first(service):
    sink = service.sink()
    stage(sink, NAME, {**FILES, SECOND: b"of the first attempt", "config.json": b"{}"})
    publish(sink, NAME, FILES)
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
