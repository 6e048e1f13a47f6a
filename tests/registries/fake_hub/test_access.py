"""Private, gated and read-only repos, as the exceptions of the real client."""

from pathlib import Path

import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import WEIGHTS, add, api_of, checkpoint


def test_whoami_tells_user_and_organisations(hub: Hub) -> None:
    me = api_of(hub).whoami()
    assert (me["name"], [each["name"] for each in me["orgs"]]) == ("alice", ["acme"])


def test_an_unknown_token_is_refused_everywhere(hub: Hub) -> None:
    hub.add_repo("acme/model")
    with pytest.raises(HfHubHTTPError, match="401") as caught:
        api_of(hub, "hf_mallory").model_info("acme/model")
    assert not isinstance(caught.value, RepositoryNotFoundError)
    hub.remove_token("hf_alice")
    with pytest.raises(HfHubHTTPError, match="401"):
        api_of(hub).create_repo("acme/other")


@pytest.mark.parametrize("token", [False, "hf_bob"])
def test_a_private_repo_is_not_there_for_others(hub: Hub, tmp_path: Path, token: str | bool) -> None:
    hub.add_repo("acme/model", checkpoint(tmp_path / "model"), private=True)
    with pytest.raises(RepositoryNotFoundError):
        api_of(hub, token).model_info("acme/model")
    with pytest.raises(RepositoryNotFoundError):
        api_of(hub, token).hf_hub_download("acme/model", "config.json", cache_dir=tmp_path / "cache")
    assert api_of(hub).model_info("acme/model").private


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_bob", 403)])
def test_a_gated_repo_shows_its_names_and_keeps_its_files(
    hub: Hub, tmp_path: Path, token: str | bool, status: int
) -> None:
    hub.add_repo("acme/model", checkpoint(tmp_path / "model"), gated=True)
    assert api_of(hub, token).model_info("acme/model").gated == "manual"
    with pytest.raises(GatedRepoError) as caught:
        api_of(hub, token).hf_hub_download("acme/model", "config.json", cache_dir=tmp_path / "cache")
    assert caught.value.response.status_code == status
    with pytest.raises(GatedRepoError):
        api_of(hub, token).auth_check("acme/model")


def test_a_gate_opens_for_who_is_granted(hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("acme/model", checkpoint(tmp_path / "model"), gated=True)
    hub.grant("acme/model", "bob")
    path = api_of(hub, "hf_bob").hf_hub_download("acme/model", "model.safetensors", cache_dir=tmp_path / "cache")
    assert Path(path).read_bytes() == WEIGHTS


def test_who_only_reads_cannot_write(hub: Hub) -> None:
    hub.add_repo("acme/model")
    reader = api_of(hub, hub.add_token("hf_carol", "carol", read=("acme",)))
    for forbidden in (
        lambda: reader.create_commit("acme/model", [add("config.json", b"{}")], commit_message="Add"),
        lambda: reader.create_branch("acme/model", branch="mine"),
        lambda: reader.create_repo("acme/other"),
        lambda: reader.delete_repo("acme/model"),
        lambda: reader.auth_check("acme/model", write=True),
    ):
        with pytest.raises(HfHubHTTPError, match="403"):
            forbidden()
    assert hub.repos() == ["acme/model"]
