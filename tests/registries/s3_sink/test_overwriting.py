"""Overwriting replaces an earlier output, or what is left of one, and nothing else."""

import pytest

from crossfade_core.errors import OutputNameUnsafe
from tests.registries.s3_sink.publishing import FILES, OLD, OTHER, SHARD, below
from tests.registries.staging import publish, stage


def test_overwritten_output_keeps_no_file_of_the_earlier_one(store):
    publish(store.sink(OTHER), "a/tuned", OLD)
    sink = store.sink(overwrite=True)
    sink.check_free("a/tuned")
    publish(sink, "a/tuned", FILES)
    sink.discard()
    store.sink(OTHER).discard()
    assert store.content() == below("a/tuned", FILES)


def test_earlier_output_looks_whole_to_nobody_from_the_first_change_on(store):
    publish(store.sink(OTHER), "tuned", OLD)
    sink = store.sink(overwrite=True)
    files = stage(sink, "tuned", FILES)
    store.proxy.clear()
    sink.commit("tuned", files)
    changes = [
        (passed.method, passed.path.rsplit("/", 1)[-1])
        for passed in store.proxy.traffic.requests
        if passed.method in ("PUT", "POST", "DELETE") and "/tuned/" in passed.path and "/.crossfade" not in passed.path
    ]
    assert changes[:3] == [
        ("DELETE", "lineage.json"),
        ("DELETE", "model.safetensors.index.json"),
        ("DELETE", "model-00003-of-00003.safetensors"),
    ]
    assert changes[-1] == ("PUT", "lineage.json")


def test_overwrite_of_nothing_just_publishes(store):
    publish(store.sink(overwrite=True), "tuned", FILES)
    assert store.visible() == below("tuned", FILES)


def test_outputs_below_an_output_stay(store):
    publish(store.sink(OTHER), "team/tuned", OLD)
    publish(store.sink(OTHER, overwrite=True), "team/tuned/nested", OLD)
    publish(store.sink(overwrite=True), "team/tuned", FILES)
    assert store.visible() == below("team/tuned", FILES) | below("team/tuned/nested", OLD)


def test_what_a_dead_job_left_is_replaced(store):
    store.put(f"tuned/{SHARD}", job="job-0")
    publish(store.sink(overwrite=True), "tuned", FILES)
    assert store.visible() == below("tuned", FILES)


@pytest.mark.parametrize("key", ["tuned/notes.txt", "tuned/notes/1.txt", "tuned/other-output/lineage.json"])
def test_overwrite_replaces_nothing_but_outputs(store, key):
    store.put(key)
    sink = store.sink(overwrite=True)
    with pytest.raises(OutputNameUnsafe, match=r"tuned is no earlier output, it holds no lineage\.json"):
        sink.check_free("tuned")
    with pytest.raises(OutputNameUnsafe, match="no earlier output"):
        publish(sink, "tuned", FILES)
    sink.discard()
    assert store.content() == {key: b"x"}
