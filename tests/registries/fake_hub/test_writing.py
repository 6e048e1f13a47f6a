"""The real client publishes: uploads, commits, branches, tags, cards."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import (
    CARD,
    SHA256,
    WEIGHTS,
    OpenHub,
    add,
    api_of,
    checkpoint,
    commit,
    with_weights,
)

# huggingface_hub 2.4.0 hands files to httpx2 as `data=`, which that has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_small_files_and_large_ones_are_published_by_one_commit(hub: Hub, tmp_path: Path) -> None:
    api_of(hub).create_repo("acme/model")
    folder = checkpoint(tmp_path / "model")
    operations = [
        CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()
    ]
    oid = commit(hub, *operations)
    tree = hub.tree("acme/model")
    assert hub.commits("acme/model")[0].id == oid
    assert (len(hub.commits("acme/model")), tree["model.safetensors"].sha256, tree["README.md"].sha256) == (
        2,
        SHA256,
        None,
    )
    assert hub.read("acme/model", "model.safetensors") == WEIGHTS
    assert hub.bytes_written["acme/model", SHA256] == len(WEIGHTS)
    assert [each.has_token for each in hub.requests if each.method == "PUT"] == [False]


def test_an_object_goes_up_in_parts(open_hub: OpenHub) -> None:
    hub = open_hub(chunk_bytes=100_000)
    hub.add_repo("acme/model")
    commit(hub, add("model.safetensors", WEIGHTS))
    assert hub.read("acme/model", "model.safetensors") == WEIGHTS
    puts = [each for each in hub.requests if each.method == "PUT"]
    completion = [each for each in hub.requests if "complete-multipart" in each.path]
    assert [len(puts), {each.has_token for each in puts}, [each.has_token for each in completion]] == [
        6,
        {False},
        [False],
    ]


def test_an_object_that_is_there_is_not_sent_again(hub: Hub) -> None:
    hub.add_repo("acme/model")
    commit(hub, add("a.safetensors", WEIGHTS))
    commit(hub, add("b.safetensors", WEIGHTS))
    assert sum(each.method == "PUT" for each in hub.requests) == 1
    assert set(hub.tree("acme/model")) == {".gitattributes", "a.safetensors", "b.safetensors"}


@pytest.mark.parametrize("is_shared", [True, False])
def test_objects_are_one_repos_own_unless_they_are_shared(open_hub: OpenHub, is_shared: bool) -> None:
    hub = open_hub(shared_objects=is_shared)
    for repo in ("acme/a", "acme/b"):
        hub.add_repo(repo)
        commit(hub, add("model.safetensors", WEIGHTS), repo=repo)
    assert sum(each.method == "PUT" for each in hub.requests) == (1 if is_shared else 2)


def test_a_commit_that_changes_nothing_is_not_sent(hub: Hub) -> None:
    sha = with_weights(hub)
    assert commit(hub, add("model.safetensors", WEIGHTS)) == sha


def test_files_and_folders_are_removed_and_copied(hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("acme/model", checkpoint(tmp_path / "model"))
    commit(
        hub,
        CommitOperationCopy("model.safetensors", "copy.safetensors"),
        CommitOperationDelete("sub/"),
        CommitOperationDelete("config.json"),
    )
    assert set(hub.tree("acme/model")) == {".gitattributes", "README.md", "copy.safetensors", "model.safetensors"}
    assert hub.read("acme/model", "copy.safetensors") == WEIGHTS


def test_a_stale_parent_is_refused(hub: Hub) -> None:
    old = hub.add_repo("acme/model")
    new = hub.push("acme/model", {"config.json": b"{}"})
    with pytest.raises(HfHubHTTPError, match="412"):
        commit(hub, add("README.md", CARD), parent_commit=old)
    assert commit(hub, add("README.md", CARD), parent_commit=new)


def test_a_commit_is_made_whole_or_not_at_all(hub: Hub) -> None:
    sha = hub.add_repo("acme/model")
    with pytest.raises(EntryNotFoundError):
        commit(hub, add("config.json", b"{}"), CommitOperationDelete("absent"))
    absent = add("model.safetensors", WEIGHTS)
    absent._upload_mode, absent._is_uploaded = "lfs", True
    with pytest.raises(BadRequestError, match="does not exist"):
        commit(hub, add("config.json", b"{}"), absent)
    assert (hub.commits("acme/model")[0].id, set(hub.tree("acme/model"))) == (sha, {".gitattributes"})


def test_an_object_of_another_size_is_refused(hub: Hub) -> None:
    with_weights(hub)
    wrong = add("again.safetensors", WEIGHTS)
    wrong._upload_mode, wrong._is_uploaded, wrong.upload_info.size = "lfs", True, 5
    with pytest.raises(BadRequestError, match="says 5 bytes"):
        commit(hub, wrong)


def test_a_known_digest_that_is_wrong_is_found_by_verify(hub: Hub) -> None:
    hub.add_repo("acme/model")
    operation = add("model.safetensors", WEIGHTS)
    operation.upload_info.sha256 = bytes(32)
    with pytest.raises(RuntimeError) as caught:
        commit(hub, operation)
    assert "422" in str(caught.value.__cause__)
    assert SHA256 in str(caught.value.__cause__)


def test_branches_come_and_go(hub: Hub) -> None:
    first = hub.add_repo("acme/model")
    second = hub.push("acme/model", {"config.json": b"{}"})
    api_of(hub).create_branch("acme/model", branch="pad/0.5")
    api_of(hub).create_branch("acme/model", branch="old", revision=first)
    with pytest.raises(HfHubHTTPError, match="409"):
        api_of(hub).create_branch("acme/model", branch="old")
    with pytest.raises(BadRequestError):
        api_of(hub).create_branch("acme/model", branch="a..b")
    third = commit(hub, add("README.md", CARD), revision="pad/0.5")
    branches = {each.name: each.target_commit for each in api_of(hub).list_repo_refs("acme/model").branches}
    assert branches == {"main": second, "pad/0.5": third, "old": first}
    assert hub.read("acme/model", "README.md", "pad/0.5") == CARD
    api_of(hub).delete_branch("acme/model", branch="pad/0.5")
    with pytest.raises(RevisionNotFoundError):
        commit(hub, add("README.md", CARD), revision="pad/0.5")


def test_tags_come_and_go(hub: Hub) -> None:
    sha = hub.add_repo("acme/model")
    api_of(hub).create_tag("acme/model", tag="v1")
    with pytest.raises(HfHubHTTPError, match="409"):
        api_of(hub).create_tag("acme/model", tag="v1")
    assert [each.target_commit for each in api_of(hub).list_repo_refs("acme/model").tags] == [sha]
    api_of(hub).delete_tag("acme/model", tag="v1")
    assert api_of(hub).list_repo_refs("acme/model").tags == []


@pytest.mark.parametrize(
    ("front_matter", "named"),
    [
        ("base_model: [1, 2]", "base_model"),
        ("base_model: acme/base@main", "base_model"),
        ("base_model_relation: interpolation", "base_model_relation"),
        ("license: [MIT, {}]", "license"),
        ("tags: merge", "tags"),
        ("- a list", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_a_card_with_wrong_metadata_is_refused(hub: Hub, front_matter: str, named: str) -> None:
    sha = hub.add_repo("acme/model")
    with pytest.raises(ValueError, match=named):
        commit(hub, add("README.md", f"---\n{front_matter}\n---\n".encode()))
    assert hub.commits("acme/model")[0].id == sha


def test_a_card_without_metadata_earns_a_warning(hub: Hub) -> None:
    hub.add_repo("acme/model")
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        commit(hub, add("README.md", b"# A model"))


def test_a_path_out_of_the_repo_is_refused(hub: Hub) -> None:
    hub.add_repo("acme/model")
    operation = add("config.json", b"{}")
    operation.path_in_repo = "a/../../config.json"
    with pytest.raises(BadRequestError, match="Invalid path"):
        commit(hub, operation)
