"""No name and no symbolic link leads a sink out of its destination, and a destination that is no good says so."""

import pytest

from crossfade_core.errors import OutputNameUnsafe, SinkUnavailable
from crossfade_registries.local.sink import STAGING, LocalSink
from tests.registries.staging import FILES, JOB, content, publish, stage

CLIMBING = ["", ".", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/"]
ODD = [".hidden", "-x", "a b", "a\x00b", "ü", "a~b", STAGING]
UNSAFE = CLIMBING + ODD


@pytest.fixture
def sink(out):
    return LocalSink(out, JOB)


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_output_name_is_refused_everywhere(out, sink, name):
    for call in (sink.check_free, lambda name: sink.create_file(name, "f", 1), lambda name: sink.commit(name, {})):
        with pytest.raises(OutputNameUnsafe):
            call(name)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("file", [*UNSAFE, "sub/file"])
def test_unsafe_file_name_is_refused(out, sink, file):
    with pytest.raises(OutputNameUnsafe):
        sink.create_file("tuned", file, 1)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["link/tuned", "real/link/tuned"])
def test_link_on_the_way_to_an_output_is_refused(out, elsewhere, name, overwrite):
    sink = LocalSink(out, JOB, overwrite=overwrite)
    parent = (out / name).parent
    parent.parent.mkdir(exist_ok=True)
    parent.symlink_to(elsewhere)
    with pytest.raises(OutputNameUnsafe, match="a file or a symbolic link"):
        sink.check_free(name)
    files = stage(sink, name)
    with pytest.raises(OutputNameUnsafe):
        sink.commit(name, files)
    assert list(elsewhere.iterdir()) == []


def test_file_on_the_way_to_an_output_is_refused(out, sink):
    (out / "file").write_bytes(b"mine")
    with pytest.raises(OutputNameUnsafe, match="a file or a symbolic link"):
        sink.check_free("file/tuned")


def test_link_in_an_outputs_place_is_not_followed_even_to_overwrite(out, elsewhere):
    publish(LocalSink(elsewhere, JOB), "tuned")
    (out / "tuned").symlink_to(elsewhere / "tuned")
    sink = LocalSink(out, JOB, overwrite=True)
    with pytest.raises(OutputNameUnsafe, match="symbolic link"):
        sink.check_free("tuned")
    with pytest.raises(OutputNameUnsafe, match="symbolic link"):
        publish(sink, "tuned", {**FILES, "config.json": b"new"})
    assert content(elsewhere / "tuned") == FILES


@pytest.mark.parametrize("link", [STAGING, f"{STAGING}/{JOB}", f"{STAGING}/{JOB}/tuned"])
def test_link_in_the_place_of_staging_is_refused(out, elsewhere, sink, link):
    (out / link).parent.mkdir(parents=True, exist_ok=True)
    (out / link).symlink_to(elsewhere)
    with pytest.raises(OutputNameUnsafe, match="symbolic link"):
        sink.create_file("tuned", "config.json", 1)
    with pytest.raises(OutputNameUnsafe, match="symbolic link"):
        sink.commit("tuned", {})
    assert list(elsewhere.iterdir()) == []


def test_discard_follows_no_link(out, elsewhere, sink):
    (elsewhere / JOB).mkdir()
    (elsewhere / JOB / "mine").write_bytes(b"mine")
    (out / STAGING).symlink_to(elsewhere)
    with pytest.raises(OutputNameUnsafe):
        sink.discard()
    (out / STAGING).unlink()
    stage(sink, "tuned")
    (out / STAGING / JOB / "tuned/link").symlink_to(elsewhere)
    sink.discard()
    assert content(elsewhere) == {f"{JOB}/mine": b"mine"}


def test_destination_that_is_itself_a_link_works(tmp_path, out):
    (tmp_path / "link").symlink_to(out)
    publish(LocalSink(tmp_path / "link", JOB), "tuned")
    assert content(out / "tuned") == FILES


def test_destination_that_is_not_there_says_so(tmp_path):
    sink = LocalSink(tmp_path / "absent", JOB)
    for call in (sink.check_free, lambda name: sink.create_file(name, "f", 1), lambda name: sink.commit(name, {})):
        with pytest.raises(SinkUnavailable, match="absent: the destination's folder is not there; create it"):
            call("tuned")


def test_read_only_destination_says_so(read_only):
    sink = LocalSink(read_only, JOB)
    with pytest.raises(SinkUnavailable, match=r"not writable for this service; check .* read-only"):
        sink.check_free("tuned")
    with pytest.raises(SinkUnavailable, match=r"Read-only file system|Permission denied"):
        sink.create_file("tuned", "config.json", 1)
    sink.discard()
