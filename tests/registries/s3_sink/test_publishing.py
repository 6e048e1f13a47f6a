"""An output appears whole, its manifests last, once, and never over something else."""

import dataclasses

import pytest

from crossfade_core.errors import OutputExists, OutputNameUnsafe, SinkError, SinkUnavailable, StagedFileLost
from crossfade_registries.s3.staging import STAGING
from tests.registries.s3_sink.publishing import FILES, OLD, OTHER, SHARD, below
from tests.registries.staging import JOB, facts, publish, stage

STAGED = facts(FILES)


@pytest.mark.parametrize("checksums", ["crc64nvme", "md5"])
@pytest.mark.parametrize("name", ["tuned-0.5", "sweeps/today/tuned/0.5"])
def test_committed_output_holds_exactly_its_files_and_discard_leaves_nothing_else(store, name, checksums):
    sink = store.sink(checksums=checksums)
    sink.check_free(name)
    assert publish(sink, name, FILES) == f"s3://{store.bucket}/team/outputs/{name}"
    sink.discard()
    assert store.content() == below(name, FILES)
    assert store.uploads() == []


def test_nothing_is_visible_before_the_commit(store):
    stage(store.sink(), "tuned", FILES)
    assert store.visible() == {}
    assert store.uploads() == [f"tuned/{SHARD}"]


def test_shards_may_be_staged_by_other_processes_than_the_one_that_commits(store):
    for file, content in FILES.items():
        stage(store.sink(), "tuned", {file: content})
    store.sink().commit("tuned", STAGED)
    assert store.visible() == below("tuned", FILES)


def test_config_then_index_then_lineage_become_visible_last(store):
    sink = store.sink()
    stage(sink, "tuned", FILES)
    store.proxy.clear()
    sink.commit("tuned", STAGED)
    made = [key for key in store.asked("PUT") + store.asked("POST") if key.startswith("tuned/")]
    assert sorted(made) == sorted(below("tuned", FILES))
    order = [
        passed.path.rsplit("/", 1)[-1]
        for passed in store.proxy.traffic.requests
        if passed.method in ("PUT", "POST") and "/tuned/" in passed.path
    ]
    assert order[-3:] == ["config.json", "model.safetensors.index.json", "lineage.json"]


def test_commit_again_finds_the_published_output_also_with_other_small_files_staged(store):
    sink = store.sink()
    uri = publish(sink, "tuned", FILES)
    again = store.sink()
    stage(again, "tuned", {"config.json": b"staged before it was known"})
    assert again.commit("tuned", STAGED) == uri
    assert store.visible() == below("tuned", FILES)


def test_commit_after_the_discard_still_finds_the_published_output(store):
    uri = publish(store.sink(), "tuned", FILES)
    store.sink().discard()
    assert store.sink().commit("tuned", STAGED) == uri


def test_job_that_stages_another_lineage_after_publishing_publishes_that(store):
    publish(store.sink(), "tuned", FILES)
    newer = {**FILES, "lineage.json": b'{"job": "job-1", "software": "newer"}\n'}
    publish(store.sink(), "tuned", newer)
    assert store.visible() == below("tuned", newer)


@pytest.mark.parametrize(
    ("changed", "error", "named"),
    [
        (
            {"x": facts({"x": b"1234567"})["x"]},
            StagedFileLost,
            r"x: 7 bytes of sha256 [0-9a-f]{64} expected, none found",
        ),
        ({"config.json": None}, SinkError, r"config\.json: none expected, 8 bytes of sha256 [0-9a-f]{64} found"),
        (
            {SHARD: dataclasses.replace(STAGED[SHARD], size_bytes=7)},
            SinkError,
            rf"{SHARD}: 7 bytes of sha256 {STAGED[SHARD].sha256} expected, 5243880 bytes of sha256 ",
        ),
        (
            {"config.json": dataclasses.replace(STAGED["config.json"], sha256="0" * 64)},
            SinkError,
            r"config\.json: 8 bytes of sha256 0{64} expected, 8 bytes of sha256 [0-9a-f]{64} found",
        ),
    ],
)
def test_output_with_a_file_missing_extra_or_of_other_bytes_is_refused(moto_store, changed, error, named):
    sink = moto_store.sink()
    stage(sink, "a/tuned", FILES)
    files = {file: about for file, about in (STAGED | changed).items() if about is not None}
    with pytest.raises(error, match=named) as caught:
        sink.commit("a/tuned", files)
    assert caught.value.details["output"] == "a/tuned"
    assert moto_store.visible() == {}
    assert sink.commit("a/tuned", STAGED).endswith("/a/tuned")


def test_output_without_lineage_is_refused(moto_store):
    sink = moto_store.sink()
    with pytest.raises(SinkError, match=r"without lineage\.json nobody could tell that it is whole"):
        sink.commit("tuned", stage(sink, "tuned", {"config.json": b"{}"}))


def test_of_two_attempts_at_a_file_the_one_that_is_asked_for_is_published(store):
    dead = store.sink().create_file("tuned", SHARD, len(FILES[SHARD]))
    dead.write(memoryview(b"half"))
    stage(store.sink(), "tuned", {**FILES, SHARD: FILES[SHARD][::-1], "config.json": b"first"})
    sink = store.sink()
    publish(sink, "tuned", FILES)
    sink.discard()
    assert store.content() == below("tuned", FILES)
    assert store.uploads() == []
    dead.abandon()


@pytest.mark.parametrize("file", ["config.json", SHARD])
@pytest.mark.parametrize("excess_bytes", [-1, 1])
def test_finish_refuses_other_than_the_announced_size(moto_store, file, excess_bytes):
    size = len(FILES[file])
    writer = moto_store.sink().create_file("tuned", file, size)
    writer.write(memoryview(bytes(size + excess_bytes)))
    with pytest.raises(SinkUnavailable, match=f"{size + excess_bytes} bytes written, {size} announced"):
        writer.finish("0" * 64)
    writer.abandon()
    assert moto_store.content() == {}
    assert moto_store.uploads() == []


def test_abandoned_file_leaves_nothing_and_a_finished_one_stays(store):
    sink = store.sink()
    half = sink.create_file("tuned", SHARD, 3 * len(FILES[SHARD]))
    half.write(memoryview(FILES[SHARD]))
    half.abandon()
    half.abandon()
    assert store.content() == {}
    assert store.uploads() == []
    writer = sink.create_file("tuned", SHARD, len(FILES[SHARD]))
    writer.write(memoryview(FILES[SHARD]))
    writer.finish(STAGED[SHARD].sha256)
    writer.abandon()
    assert store.uploads() == [f"tuned/{SHARD}"]


@pytest.mark.parametrize("what", ["output", "leavings of a dead job", "somebody's file", "somebody's folder"])
def test_commit_never_replaces_what_is_there(store, what):
    match what:
        case "output":
            publish(store.sink(OTHER), "tuned", OLD)
        case "leavings of a dead job":
            store.put(f"tuned/{SHARD}", job="job-0")
        case "somebody's file":
            store.put("tuned/notes.txt")
        case "somebody's folder":
            store.put("tuned/notes/1.txt")
    before = store.visible()
    sink = store.sink()
    with pytest.raises(OutputExists, match="choose another output_name, or set overwrite") as caught:
        sink.check_free("tuned")
    assert caught.value.details == {"output": "tuned"}
    files = stage(sink, "tuned", FILES)
    with pytest.raises(OutputExists):
        sink.commit("tuned", files)
    assert f"{STAGING}/claims/tuned/{JOB}" not in store.content()
    sink.discard()
    assert store.visible() == before


@pytest.mark.parametrize("name", ["", "../up", "/abs", ".crossfade-staging", "a/b/c/d/e", "a~b"])
def test_unsafe_names_are_refused_before_any_request(moto_store, name):
    sink = moto_store.sink()
    for refused in (sink.check_free, lambda name: sink.create_file(name, "x", 1), lambda name: sink.commit(name, {})):
        with pytest.raises(OutputNameUnsafe):
            refused(name)
    with pytest.raises(OutputNameUnsafe):
        sink.create_file("tuned", name or "a/b", 1)
    assert moto_store.proxy.traffic.requests == []
