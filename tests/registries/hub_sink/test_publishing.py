"""An output appears on a Hub whole, in one commit, and only then, however its files go up."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import CommitOperationAdd

from crossfade_core.errors import SinkError, SinkUnavailable
from crossfade_core.ports import StagedFile
from tests.registries.hub_sink.publishing import (
    FILES,
    IGNORED,
    REPO,
    SHARDS,
    SMALL,
    answer,
    asked,
    destination,
    held,
    open_sink,
)
from tests.registries.staging import facts, publish, stage

pytestmark = pytest.mark.filterwarnings(IGNORED)


def test_published_repository_holds_exactly_the_files_by_one_commit(any_hub, scratch):
    sink = open_sink(any_hub, scratch)
    sink.check_free("tuned")
    uri = publish(sink, "tuned", FILES)
    commit, first = any_hub.commits(REPO)
    assert held(any_hub) == FILES
    assert (uri, commit.parent) == (f"hf://{REPO}@{commit.id}", first.id)
    assert "job-1" in commit.message
    assert asked(any_hub, path="/commit/") == 1


def test_nothing_is_visible_before_the_commit(any_hub, scratch):
    sink = open_sink(any_hub, scratch)
    staged = stage(sink, "tuned", FILES)
    assert held(any_hub) == {}
    assert len(any_hub.commits(REPO)) == 1
    assert any_hub.repo(REPO).private
    sink.commit("tuned", staged)


def test_shards_that_other_processes_staged_are_committed_without_their_content(any_hub, scratch):
    for file, content in SHARDS.items():
        stage(open_sink(any_hub, scratch), "tuned", {file: content})
    committer = open_sink(any_hub, scratch)
    stage(committer, "tuned", SMALL)
    before = any_hub.bytes_written
    committer.commit("tuned", facts(FILES))
    assert held(any_hub) == FILES
    assert sum((any_hub.bytes_written - before).values()) == sum(map(len, SMALL.values()))


@pytest.mark.parametrize("again", ["same sink", "new sink"])
def test_commit_again_finds_the_commit_that_is_there(hub, opened, again):
    first = opened()
    uri = publish(first, "tuned", FILES)
    second = first if again == "same sink" else opened()
    if again == "new sink":
        stage(second, "tuned", SMALL)
    assert second.commit("tuned", facts(FILES)) == uri
    assert len(hub.commits(REPO)) == 2


def test_lineage_record_too_large_for_git_is_recognised_too(hub, opened):
    files = {**FILES, "lineage.json": b" " * (10 << 20) + b"{}"}
    uri = publish(opened(), "tuned", files)
    again = opened()
    stage(again, "tuned", {file: files[file] for file in SMALL})
    assert again.commit("tuned", facts(files)) == uri


def operations_in_memory() -> int:
    """How many files to commit this process holds; `type`, since `isinstance` asks objects that warn when asked."""
    gc.collect()
    return sum(type(each) is CommitOperationAdd for each in gc.get_objects())


def test_small_files_are_let_go_of_once_they_are_published(opened):
    before = operations_in_memory()
    sink = opened()
    staged = stage(sink, "tuned", FILES)
    assert operations_in_memory() > before
    sink.commit("tuned", staged)
    assert operations_in_memory() <= before


def test_object_that_the_hub_holds_is_not_sent_again(hub, opened):
    for _ in range(2):
        stage(opened(), "tuned", SHARDS)
    for content in SHARDS.values():
        assert hub.bytes_written[REPO, facts({"x": content})["x"].sha256] == len(content)


@pytest.mark.parametrize("visibility", ["private", "public"])
def test_repository_is_made_as_visible_as_configured_and_one_that_is_there_stays_as_it_is(hub, opened, visibility):
    hub.add_repo("team/there", private=True)
    sink = opened(to=destination(visibility=visibility))
    publish(sink, "tuned", FILES)
    publish(sink, "there", FILES)
    assert hub.repo(REPO).private == (visibility == "private")
    assert hub.repo("team/there").private
    assert asked(hub, method="PUT", path="/settings") == 0


def test_outputs_that_finish_in_several_threads_at_once_are_each_whole(hub, opened):
    sink = opened()
    names = [f"tuned-{number}" for number in range(4)]
    barrier = threading.Barrier(len(names))

    def stage_one(name):
        barrier.wait(30)
        return stage(sink, name, {**FILES, "model-00001-of-00002.safetensors": name.encode() * 500})

    with ThreadPoolExecutor(len(names)) as pool:
        staged = dict(zip(names, pool.map(stage_one, names), strict=True))
    for name in names:
        sink.commit(name, staged[name])
        assert held(hub, f"team/{name}")["model-00001-of-00002.safetensors"] == name.encode() * 500
        assert held(hub, f"team/{name}").keys() == FILES.keys()


def test_gitignore_of_the_destination_has_no_say(hub, opened):
    files = b'{"files": [{"path": "config.json", "uploadMode": "%s", "shouldIgnore": true}]}'
    for mode in (b"regular", b"lfs"):
        hub.fail(answer(files % mode), path_contains="/preupload/")
        name = f"tuned-{mode.decode()}"
        publish(opened(), name, {"config.json": FILES["config.json"]})
        assert held(hub, f"team/{name}") == {"config.json": FILES["config.json"]}


@pytest.mark.parametrize("size", [0, 1, 5])
def test_finish_refuses_other_than_the_announced_size(hub, opened, scratch, size):
    writer = opened().create_file("tuned", "config.json", 4)
    writer.write(memoryview(b"x" * size))
    with pytest.raises(SinkUnavailable, match=rf"config\.json: {size} bytes written, 4 announced"):
        writer.finish("0" * 64)
    writer.abandon()
    assert hub.requests == []


@pytest.mark.parametrize("wrong", ["size", "digest", "extra"])
def test_output_whose_staged_files_are_not_as_planned_is_refused(hub, opened, wrong):
    sink = opened()
    planned = stage(sink, "tuned", FILES)
    about = planned.pop("config.json")
    if wrong != "extra":
        changed = StagedFile(9, about.sha256) if wrong == "size" else StagedFile(about.size_bytes, "0" * 64)
        planned["config.json"] = changed
    with pytest.raises(SinkError, match=r"staged files are not as planned: config\.json") as caught:
        sink.commit("tuned", planned)
    assert caught.value.details == {"output": "tuned"}
    assert held(hub) == {}


def test_discard_asks_nothing_of_the_hub(hub, opened):
    sink = opened()
    stage(sink, "tuned", FILES)
    before = len(hub.requests)
    sink.discard()
    sink.discard()
    assert len(hub.requests) == before
