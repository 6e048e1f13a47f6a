"""The real client reads a repo: info, tree, paths, files and parts of files."""

from pathlib import Path

import pytest
from huggingface_hub import RepoFile
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session

from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import SHA256, WEIGHTS, OpenHub, api_of, checkpoint, get, with_weights


def test_info_with_blobs_gives_sizes_and_digests(hub: Hub, tmp_path: Path) -> None:
    sha = hub.add_repo("acme/model", checkpoint(tmp_path / "model"))
    info = api_of(hub).model_info("acme/model", files_metadata=True)
    files = {each.rfilename: each for each in info.siblings}
    assert (info.sha, files["model.safetensors"].lfs.sha256) == (sha, SHA256)
    assert (files["model.safetensors"].size, files["config.json"].lfs) == (len(WEIGHTS), None)
    assert info.card_data.base_model == ["acme/base", "acme/instruct"]


def test_a_tree_is_paged_and_complete(open_hub: OpenHub, tmp_path: Path) -> None:
    hub = open_hub(page_entries=2)
    hub.add_repo("acme/model", checkpoint(tmp_path / "model"))
    everything = {each.path: each for each in api_of(hub).list_repo_tree("acme/model", recursive=True, expand=True)}
    paths = [".gitattributes", "README.md", "config.json", "model.safetensors", "sub", "sub/notes.txt"]
    assert list(everything) == paths
    assert everything["model.safetensors"].lfs.sha256 == SHA256
    assert everything["config.json"].last_commit.title == "Push"
    assert sum("/tree/" in each.path for each in hub.requests) == 3
    flat = api_of(hub).list_repo_tree("acme/model")
    assert [each.path for each in flat] == paths[:-1]
    assert [each.path for each in api_of(hub).list_repo_tree("acme/model", "sub")] == ["sub/notes.txt"]


def test_paths_info_tells_of_what_is_there(hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("acme/model", checkpoint(tmp_path / "model"))
    found = api_of(hub).get_paths_info("acme/model", ["model.safetensors", "sub", "absent"])
    assert [(each.path, isinstance(each, RepoFile)) for each in found] == [("model.safetensors", True), ("sub", False)]


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Hub) -> None:
    first = hub.add_repo("acme/model")
    api_of(hub).create_tag("acme/model", tag="v1")
    second = hub.push("acme/model", {"config.json": b"{}"})
    shas = [api_of(hub).model_info("acme/model", revision=each).sha for each in ("main", "v1", first, second[:8])]
    assert shas == [second, first, first, second]
    with pytest.raises(RevisionNotFoundError):
        api_of(hub).model_info("acme/model", revision="absent")


def test_a_file_can_be_downloaded_at_an_old_revision(hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("acme/model")
    old = hub.push("acme/model", {"model.safetensors": WEIGHTS, "config.json": b"old"})
    hub.push("acme/model", {"model.safetensors": b"new", "config.json": b"new"})
    for file, content in (("model.safetensors", WEIGHTS), ("config.json", b"old")):
        path = api_of(hub).hf_hub_download("acme/model", file, revision=old, cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == content
    assert hub.bytes_read["acme/model", "model.safetensors"] == len(WEIGHTS)


def test_a_missing_file_and_a_missing_repo_are_told_apart(hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("acme/model")
    with pytest.raises(EntryNotFoundError):
        api_of(hub).hf_hub_download("acme/model", "absent.bin", cache_dir=tmp_path)
    with pytest.raises(RepositoryNotFoundError):
        api_of(hub).model_info("acme/absent")


def test_a_large_file_is_redirected_to_the_storage_without_the_token(hub: Hub) -> None:
    sha = with_weights(hub)
    url = f"{hub.url}/acme/model/resolve/main/model.safetensors"
    head = get_session().head(url, headers=build_hf_headers(token="hf_alice"), follow_redirects=False)
    assert head.status_code == 302
    assert head.headers["X-Repo-Commit"] == sha
    assert (head.headers["X-Linked-Etag"], head.headers["X-Linked-Size"]) == (f'"{SHA256}"', str(len(WEIGHTS)))
    assert head.headers["Location"].startswith(hub.storage_url)
    answer = get(url, "hf_alice", Range="bytes=100-299")
    assert (answer.status_code, answer.content) == (206, WEIGHTS[100:300])
    assert answer.headers["Content-Range"] == f"bytes 100-299/{len(WEIGHTS)}"
    last = hub.requests[-1]
    assert (last.origin, last.has_token, last.range) == ("storage", False, "bytes=100-299")
    assert hub.bytes_read == {("acme/model", "model.safetensors"): 200}


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_ranges_of_every_form_are_served(hub: Hub, file: str) -> None:
    with_weights(hub)
    hub.push("acme/model", {"config.json": WEIGHTS})
    url, size = f"{hub.url}/acme/model/resolve/main/{file}", len(WEIGHTS)
    assert get(url, Range="bytes=-5").content == WEIGHTS[-5:]
    assert get(url, Range=f"bytes={size - 3}-").content == WEIGHTS[-3:]
    assert get(url, Range=f"bytes=0-{2 * size}").content == WEIGHTS
    assert get(url, Range="bytes=0-0,5-6").status_code == 200
    assert get(url, Range=f"bytes={size}-").status_code == 416


def test_the_storage_takes_only_its_own_urls_for_their_time_and_no_token(open_hub: OpenHub) -> None:
    hub = open_hub()
    with_weights(hub)
    file = f"{hub.url}/acme/model/resolve/main/model.safetensors"
    url = get_session().head(file, follow_redirects=False).headers["Location"]
    assert get(url).status_code == 200
    assert get(url, "hf_alice").status_code == 400
    assert get(url.replace("model.safetensors", "other")).status_code == 403
    hub.storage.url_seconds = -1
    assert get(file).status_code == 403
