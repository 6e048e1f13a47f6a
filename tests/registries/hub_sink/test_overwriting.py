"""What is there is replaced only where the job says so, only if it is an output, and wholly, in the same commit."""

import pytest

from crossfade_core.errors import OutputExists, OutputNameUnsafe
from crossfade_core.job import JobId
from tests.fakes.http_faults import Status
from tests.registries.hub_sink.publishing import CARD, FILES, IGNORED, REPO, asked, held
from tests.registries.staging import publish, stage

pytestmark = pytest.mark.filterwarnings(IGNORED)

OTHER = JobId("job-2")
NEW = {"model.safetensors": b"new" * 3000, "README.md": CARD, "lineage.json": b'{"job": "job-2"}\n'}


def test_overwrite_replaces_an_earlier_output_and_leaves_none_of_its_files(hub, opened):
    publish(opened(), "tuned", {**FILES, "config.json": b"stale"})
    hub.push(REPO, {"folder/deep/stale.bin": b"stale", "stale.txt": b"stale"})
    sink = opened(job=OTHER, overwrite=True)
    sink.check_free("tuned")
    publish(sink, "tuned", NEW)
    assert held(hub) == NEW
    assert ".gitattributes" in hub.tree(REPO)
    assert len(hub.commits(REPO)) == 4


def test_same_files_are_in_the_commit_though_an_earlier_one_had_them(hub, opened):
    publish(opened(), "tuned", FILES)
    sink = opened(job=OTHER, overwrite=True)
    files = {**FILES, "lineage.json": NEW["lineage.json"]}
    staged = stage(sink, "tuned", files)
    hub.push(REPO, {"config.json": b"somebody's"})  # after the sink was told what the branch holds
    sink.commit("tuned", staged)
    assert held(hub) == files


def test_overwrite_of_nothing_just_publishes(hub, opened):
    publish(opened(overwrite=True), "tuned", FILES)
    assert held(hub) == FILES


@pytest.mark.parametrize("overwrite", [False, True])
def test_repository_that_is_no_output_is_never_replaced(hub, opened, overwrite):
    hub.add_repo(REPO)
    hub.push(REPO, {"model.safetensors": b"mine"})
    before = hub.commits(REPO)
    sink = opened(overwrite=overwrite)
    refusal = (
        (OutputNameUnsafe, r"hf://team/tuned is no earlier output, it holds no lineage\.json")
        if overwrite
        else (OutputExists, "hf://team/tuned exists and holds 1 files; choose another output_name, or set overwrite")
    )
    with pytest.raises(refusal[0], match=refusal[1]) as caught:
        sink.check_free("tuned")
    assert caught.value.details == {"output": "tuned"}
    staged = stage(sink, "tuned", FILES)
    with pytest.raises(refusal[0]):
        sink.commit("tuned", staged)
    assert hub.commits(REPO) == before
    assert asked(hub, method="DELETE") == asked(hub, path="/commit/") == 0


def test_repository_without_files_is_free(hub, opened):
    hub.add_repo(REPO)
    sink = opened()
    sink.check_free("tuned")
    publish(sink, "tuned", FILES)
    assert held(hub) == FILES


def test_earlier_output_stays_as_it_was_when_its_replacement_fails(hub, opened):
    publish(opened(), "tuned", FILES)
    hub.fail(Status(418), path_contains="/commit/")
    sink = opened(job=OTHER, overwrite=True)
    staged = stage(sink, "tuned", NEW)
    with pytest.raises(Exception, match="418"):
        sink.commit("tuned", staged)
    sink.discard()
    assert held(hub) == FILES
    assert asked(hub, method="DELETE") == 0


def test_files_that_the_client_does_not_remove_are_named_as_the_reason(hub, opened):
    publish(opened(), "tuned", FILES)
    hub.push(REPO, {".cache/somebody/file": b"mine"})
    sink = opened(job=OTHER, overwrite=True)
    staged = stage(sink, "tuned", NEW)
    with pytest.raises(OutputNameUnsafe, match="holds files that no output has"):
        sink.commit("tuned", staged)
    assert held(hub) == {**FILES, ".cache/somebody/file": b"mine"}
