"""An output appears whole, in one step, once, and never over something else; what is staged is gone afterwards."""

import threading
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from crossfade_core.errors import OutputExists, OutputNameUnsafe, SinkError, SinkUnavailable
from crossfade_core.job import JobId
from crossfade_registries.local.sink import STAGING, LocalSink
from tests.registries.staging import FILES, JOB, content, facts, publish, stage, visible

OTHER = JobId("job-2")
NEW = {**FILES, "model.safetensors": b"new" * 3000}


@pytest.fixture
def sink(out):
    return LocalSink(out, JOB)


@pytest.mark.parametrize("name", ["tuned-0.5", "sweeps/today/tuned/0.5"])
def test_committed_output_holds_exactly_its_files(out, sink, name):
    uri = publish(sink, name)
    sink.discard()
    assert content(out) == {f"{name}/{file}": data for file, data in FILES.items()}
    assert uri == (out / name).as_uri()


def test_uri_of_an_output_is_one_whatever_its_destination_is_called(tmp_path):
    folder = tmp_path / "my outputs (新) 100%"
    folder.mkdir()
    uri = urlsplit(publish(LocalSink(folder, JOB), "tuned"))
    assert (uri.scheme, url2pathname(uri.path)) == ("file", str(folder / "tuned"))


def test_name_as_long_as_names_may_be_can_be_published(out, sink):
    name = "/".join(["n" * 59] * 3 + ["n" * 60])
    sink.check_free(name)
    publish(sink, name)
    assert content(out / name) == FILES


def test_nothing_is_visible_before_the_commit_and_never_a_part(out, sink):
    seen, is_over = [], threading.Event()

    def watch():
        while not is_over.is_set():
            seen.append({path.name for path in (out / "tuned").iterdir()} if (out / "tuned").exists() else None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        files = stage(sink, "tuned")
        assert visible(out) == set()
        sink.commit("tuned", files)
    finally:
        is_over.set()
        watcher.join(30)
    assert all(names in (None, set(FILES)) for names in seen)


def test_unfinished_file_is_not_even_staged(out, sink):
    writer = sink.create_file("tuned", "config.json", 4)
    writer.write(memoryview(b"{}"))
    assert list((out / STAGING / JOB / "tuned").iterdir()) == []
    writer.abandon()


@pytest.mark.parametrize("size", [0, 1, 5])
def test_finish_refuses_other_than_the_announced_size(out, sink, size):
    writer = sink.create_file("tuned", "config.json", 4)
    writer.write(memoryview(b"x" * size))
    with pytest.raises(SinkUnavailable, match=f"{size} bytes written, 4 announced"):
        writer.finish("")
    writer.abandon()
    assert content(out) == {}


def test_file_begun_again_replaces_the_first_attempt(out, sink):
    stage(sink, "tuned", {**FILES, "config.json": b"first"})
    publish(sink, "tuned", FILES)
    assert content(out / "tuned") == FILES


@pytest.mark.parametrize(
    ("announced", "named"),
    [
        ({**FILES, "config.json": None}, "config.json: no bytes expected, 0 found"),
        ({**FILES, "x": b"7 bytes"}, "x: 7 bytes expected, none found"),
        ({**FILES, "model.safetensors": b"w" * 5001}, "model.safetensors: 5001 bytes expected, 5000 found"),
    ],
)
def test_output_with_a_file_missing_extra_or_of_another_size_is_refused(out, sink, announced, named):
    stage(sink, "new/tuned")
    with pytest.raises(SinkError, match=named) as caught:
        sink.commit("new/tuned", facts({file: data for file, data in announced.items() if data is not None}))
    assert caught.value.details["output"] == "new/tuned"
    assert visible(out) == set()


def test_output_of_which_nothing_was_staged_is_refused(out, sink):
    with pytest.raises(SinkError, match=r"config\.json: 5 bytes expected, none found"):
        sink.commit("tuned", facts({"config.json": b"{   }"}))
    assert visible(out) == set()


def test_leavings_of_an_attempt_that_died_are_not_published(out, sink):
    dead = sink.create_file("tuned", "model.safetensors", 5000)
    dead.write(memoryview(b"half"))
    publish(sink, "tuned")
    sink.discard()
    assert content(out) == {f"tuned/{file}": data for file, data in FILES.items()}
    dead.abandon()


def test_writer_that_comes_after_the_commit_changes_nothing(out, sink):
    late = sink.create_file("tuned", "model.safetensors", 4)
    late.write(memoryview(b"late"))
    publish(sink, "tuned")
    with pytest.raises(SinkUnavailable, match="No such file"):
        late.finish("")
    late.abandon()
    sink.discard()
    assert content(out) == {f"tuned/{file}": data for file, data in FILES.items()}


@pytest.mark.parametrize("again", ["same sink", "new sink"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_commit_after_a_crash_that_followed_the_rename_finds_its_output(out, again, overwrite):
    if overwrite:
        publish(LocalSink(out, OTHER), "a/tuned")
    first = LocalSink(out, JOB, overwrite=overwrite)
    files = stage(first, "a/tuned", NEW)
    uri = first.commit("a/tuned", files)
    second = first if again == "same sink" else LocalSink(out, JOB, overwrite=overwrite)
    stage(second, "a/tuned", {"lineage.json": b"staged again before it was known"})
    assert second.commit("a/tuned", files) == uri
    assert content(out / "a/tuned") == NEW


def test_commit_that_was_refused_can_be_tried_again(out, sink):
    (out / "tuned").mkdir()
    files = stage(sink, "tuned")
    for _ in range(2):
        with pytest.raises(OutputExists):
            sink.commit("tuned", files)
    (out / "tuned").rmdir()
    sink.commit("tuned", files)
    assert content(out / "tuned") == FILES


@pytest.mark.parametrize("name", ["tuned", "a/tuned"])
@pytest.mark.parametrize("kind", ["output", "empty folder", "file", "dangling link"])
def test_commit_never_replaces_what_is_there(out, sink, name, kind):
    target = out / name
    target.parent.mkdir(exist_ok=True)
    match kind:
        case "output":
            publish(LocalSink(out, OTHER), name, NEW)
        case "empty folder":
            target.mkdir()
        case "file":
            target.write_bytes(b"mine")
        case "dangling link":
            target.symlink_to("nowhere")
    before = target.lstat()
    with pytest.raises(OutputExists, match="choose another output_name, or set overwrite") as caught:
        sink.check_free(name)
    assert caught.value.details == {"output": name}
    files = stage(sink, name)
    with pytest.raises(OutputExists):
        sink.commit(name, files)
    assert target.lstat() == before


def test_output_that_appears_after_the_early_check_is_not_replaced(out, sink):
    sink.check_free("tuned")
    publish(LocalSink(out, OTHER), "tuned", NEW)
    with pytest.raises(OutputExists):
        publish(sink, "tuned")
    assert content(out / "tuned") == NEW


def test_overwrite_swaps_an_earlier_output_for_the_new_one(out):
    publish(LocalSink(out, OTHER), "a/tuned")
    sink = LocalSink(out, JOB, overwrite=True)
    sink.check_free("a/tuned")
    publish(sink, "a/tuned", NEW)
    sink.discard()
    assert content(out / "a/tuned") == NEW


def test_overwrite_of_nothing_just_publishes(out):
    publish(LocalSink(out, JOB, overwrite=True), "tuned")
    assert content(out / "tuned") == FILES


def test_overwrite_replaces_nothing_but_outputs(out):
    (out / "team").mkdir()
    publish(LocalSink(out, OTHER), "team/tuned")
    sink = LocalSink(out, JOB, overwrite=True)
    with pytest.raises(OutputNameUnsafe, match=r"team is no earlier output, it holds no lineage\.json"):
        sink.check_free("team")
    with pytest.raises(OutputNameUnsafe, match="no earlier output"):
        publish(sink, "team")
    assert content(out / "team/tuned") == FILES
