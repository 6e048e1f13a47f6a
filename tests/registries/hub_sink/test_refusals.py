"""What a Hub refuses has a name, says the way out, and holds no secret."""

import json

import pytest

from crossfade_core.errors import (
    OutputNameUnsafe,
    SinkDenied,
    SinkError,
    SinkRateLimited,
    SinkUnavailable,
    StagedFileCorrupted,
    StagedFileLost,
)
from tests.fakes.http_faults import Disconnect, Status
from tests.registries.hub_sink.publishing import FILES, IGNORED, NAMESPACE, REPO, SHARDS, SMALL, TOKEN, answer, held
from tests.registries.staging import facts, publish, stage

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.mark.parametrize(
    ("user", "write", "why"),
    [
        ("publisher", (), "the token of publisher may only read"),
        ("publisher", ("publisher",), "publisher is no member of team"),
    ],
)
def test_account_that_cannot_write_is_refused_before_anything_is_made(hub, opened, user, write, why):
    hub.add_token("hf_weak", user, write=write)
    with pytest.raises(SinkDenied, match=f"hf://team/tuned: {why}; give the destination's credential") as caught:
        opened(token="hf_weak").check_free("tuned")
    assert "hf_weak" not in str(caught.value.as_record())
    assert hub.repos() == []


def test_rights_that_were_given_since_count_at_once(hub, opened):
    hub.add_token("hf_weak", "publisher", write=())
    sink = opened(token="hf_weak")
    with pytest.raises(SinkDenied):
        sink.check_free("tuned")
    hub.add_token("hf_weak", "publisher", write=[NAMESPACE])
    sink.check_free("tuned")


def test_token_that_is_wrong_or_expired_is_named_as_such(hub, opened):
    sink = opened()
    staged = stage(sink, "tuned", FILES)
    hub.remove_token(TOKEN)
    for call in (lambda: opened().check_free("tuned"), lambda: sink.commit("tuned", staged)):
        with pytest.raises(SinkDenied, match=r"401.*token of the configured credential is wrong") as caught:
            call()
        assert TOKEN not in str(caught.value.as_record())


def test_repository_behind_a_401_is_not_taken_for_a_missing_one(hub, opened):
    hub.fail(Status(401, {"X-Error-Code": "RepoNotFound"}), path_contains="/api/models/", times=None)
    with pytest.raises(SinkError, match="check its name"):
        opened().check_free("tuned")


def test_namespace_that_refuses_while_files_go_up_is_named(hub, opened):
    hub.add_token("hf_other", "other")
    with pytest.raises(SinkDenied, match=r"hf://team/tuned: the Hub answered 403 .*has the right"):
        stage(opened(token="hf_other"), "tuned", FILES)
    assert hub.repos() == []


@pytest.mark.parametrize("path", ["/api/models/", "/api/repos/create", "/commit/"])
def test_hub_that_asks_for_patience_is_given_it_and_named_when_it_asks_for_more(hub, opened, path):
    hub.fail(Status(429, {"Retry-After": "0"}), path_contains=path)
    publish(opened(), "tuned-1", FILES)
    hub.fail(Status(429, {"RateLimit": '"api";r=0;t=3600'}), path_contains=path, times=None)
    with pytest.raises(SinkRateLimited) as caught:
        publish(opened(), "tuned-2", FILES)
    assert caught.value.details["retry_after_seconds"] == 3600
    assert caught.value.retryable


def test_early_word_on_rights_is_done_without_where_the_hub_gives_none(hub, opened):
    hub.fail(Status(429), path_contains="whoami", times=None)
    opened().check_free("tuned")


def test_hub_that_is_away_is_unavailable(hub, opened):
    hub.fail(Disconnect(), path_contains="/api/models/", times=None)
    with pytest.raises(SinkUnavailable, match="hf://team/tuned: the Hub cannot be reached"):
        opened().check_free("tuned")


def test_repository_that_has_another_name_now_is_not_written_to(hub, opened):
    hub.add_repo(REPO)
    hub.fail(answer(json.dumps({"id": "team/renamed", "sha": "0" * 40}).encode()), path_contains=f"/api/models/{REPO}")
    with pytest.raises(OutputNameUnsafe, match="team/tuned is called team/renamed on the Hub"):
        opened().check_free("tuned")


def test_card_that_the_hub_does_not_take_is_refused_before_the_commit(hub, opened):
    sink = opened()
    staged = stage(sink, "tuned", {**FILES, "README.md": b"---\nbase_model_relation: sibling\n---\n"})
    with pytest.raises(SinkError, match=r"the Hub does not take the model card: .*base_model_relation"):
        sink.commit("tuned", staged)
    assert held(hub) == {}


def test_shard_that_is_no_longer_there_is_named_and_nothing_becomes_visible(hub, opened):
    stage(opened(), "tuned", SHARDS)
    lost = facts(SHARDS)["model-00001-of-00002.safetensors"].sha256
    hub.state.objects.path(hub.repo(REPO).key, lost).unlink()
    committer = opened()
    stage(committer, "tuned", SMALL)
    with pytest.raises(StagedFileLost, match=rf"{lost}.*run the job again"):
        committer.commit("tuned", facts(FILES))
    assert held(hub) == {}
    again = opened()
    publish(again, "tuned", FILES)
    assert held(hub) == FILES


def test_small_file_that_another_process_staged_is_missing(opened):
    staged = stage(opened(), "tuned", FILES)
    with pytest.raises(StagedFileLost, match=r"README\.md, config\.json, lineage\.json, merges\.txt not staged by"):
        opened().commit("tuned", staged)


def test_address_of_the_storage_that_has_expired_is_asked_for_again(hub, opened):
    hub.fail(Status(403), origin="storage")
    with pytest.raises(SinkUnavailable, match=r"model-00001-of-00002\.safetensors: the storage refused the address"):
        stage(opened(), "tuned", SHARDS)
    assert stage(opened(), "tuned", SHARDS) == facts(SHARDS)


def test_commit_that_shows_something_else_than_was_sent_is_noticed(hub, opened):
    sink = opened()
    staged = stage(sink, "tuned", FILES)
    hub.fail(answer(b"[]"), path_contains="/tree/", skip=1)
    with pytest.raises(StagedFileCorrupted, match=r"README.md: \d+ bytes \w+ expected, no file found"):
        sink.commit("tuned", staged)
