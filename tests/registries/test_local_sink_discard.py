"""Discard removes all that one job has staged, and nothing else."""

import pytest

from crossfade_core.errors import SinkUnavailable
from crossfade_core.job import JobId
from crossfade_registries.local.sink import STAGING, LocalSink
from tests.registries.staging import FILES, JOB, content, publish, stage, visible

OTHER = JobId("job-2")


@pytest.fixture
def sink(out):
    return LocalSink(out, JOB)


def test_discard_leaves_nothing_not_even_the_staging_folder(out, sink):
    stage(sink, "tuned")
    stage(sink, "a/b/tuned")
    half = sink.create_file("tuned", "more", 100)
    half.write(memoryview(b"half"))
    sink.discard()
    assert list(out.iterdir()) == []
    half.abandon()


def test_discard_of_nothing_does_nothing(out, sink):
    sink.discard()
    stage(sink, "tuned")
    sink.discard()
    sink.discard()
    assert list(out.iterdir()) == []


def test_discard_leaves_what_is_published_and_what_other_jobs_stage(out, sink):
    publish(sink, "tuned")
    other = LocalSink(out, OTHER)
    files = stage(other, "other")
    sink.discard()
    assert content(out / STAGING / OTHER / "other") == FILES
    other.commit("other", files)
    other.discard()
    assert visible(out) == {path.name for path in out.iterdir()} == {"tuned", "other"}


def test_writer_that_outlives_the_discard_leaves_nothing(out, sink):
    late = sink.create_file("tuned", "config.json", 2)
    sink.discard()
    late.write(memoryview(b"{}"))
    with pytest.raises(SinkUnavailable):
        late.finish("")
    late.abandon()
    assert list(out.iterdir()) == []
