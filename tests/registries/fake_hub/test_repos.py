"""Repos are created, changed and deleted as at the Hub."""

import pytest
from huggingface_hub.errors import HfHubHTTPError

from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import WEIGHTS, add, api_of

# huggingface_hub 2.4.0 hands files to httpx2 as `data=`, which that has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_new_repo_has_one_commit_with_attributes(hub: Hub) -> None:
    url = api_of(hub).create_repo("acme/model", private=True)
    assert (url.repo_id, hub.repos()) == ("acme/model", ["acme/model"])
    info = api_of(hub).model_info("acme/model")
    assert (info.private, info.gated, [each.rfilename for each in info.siblings]) == (True, False, [".gitattributes"])
    assert [each.commit_id for each in api_of(hub).list_repo_commits("acme/model")] == [info.sha]


def test_creating_a_repo_twice_is_a_conflict(hub: Hub) -> None:
    api_of(hub).create_repo("acme/model")
    with pytest.raises(HfHubHTTPError, match="409"):
        api_of(hub).create_repo("acme/model")
    assert api_of(hub).create_repo("acme/model", exist_ok=True).repo_id == "acme/model"


def test_a_repo_without_namespace_is_the_users_own(hub: Hub) -> None:
    assert api_of(hub).create_repo("model").repo_id == "alice/model"


def test_datasets_and_models_have_names_apart(hub: Hub) -> None:
    api_of(hub).create_repo("acme/same")
    api_of(hub).create_repo("acme/same", repo_type="dataset")
    api_of(hub).create_commit(
        "acme/same", [add("a.bin", WEIGHTS)], commit_message="Add", repo_type="dataset", revision="main"
    )
    assert api_of(hub).list_repo_files("acme/same", repo_type="dataset") == [".gitattributes", "a.bin"]
    assert api_of(hub).list_repo_files("acme/same") == [".gitattributes"]


def test_a_deleted_repo_is_gone(hub: Hub) -> None:
    api_of(hub).create_repo("acme/model")
    api_of(hub).delete_repo("acme/model")
    assert hub.repos() == []


def test_settings_change_a_repo(hub: Hub) -> None:
    hub.add_repo("acme/model")
    api_of(hub).update_repo_settings("acme/model", gated="manual", visibility="private")
    info = api_of(hub).model_info("acme/model")
    assert (info.private, info.gated) == (True, "manual")
