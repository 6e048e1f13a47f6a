"""The real client stores and reads through Xet, with a CAS on disk."""

import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import SHA256, WEIGHTS, OpenHub, add, api_of, checkpoint, commit, get


@pytest.fixture(autouse=True)
def with_xet(client: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)


def test_a_hub_without_xet_has_no_token_for_it(hub: Hub) -> None:
    hub.add_repo("acme/model")
    with pytest.raises(ConnectionError, match="404"):
        commit(hub, add("model.safetensors", WEIGHTS))


def test_a_file_stored_by_xet_is_read_by_xet_and_over_http(
    open_hub: OpenHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = open_hub(xet_dir=tmp_path / "cas")
    hub.add_repo("acme/model")
    commit(hub, add("model.safetensors", WEIGHTS), add("config.json", b"{}"))
    entry = hub.tree("acme/model")["model.safetensors"]
    assert (entry.sha256, entry.size, entry.xet is not None) == (SHA256, len(WEIGHTS), True)
    assert not any(each.method == "PUT" for each in hub.requests)
    listed = next(each for each in api_of(hub).list_repo_tree("acme/model") if each.path == "model.safetensors")
    assert (listed.xet_hash, listed.lfs.sha256) == (entry.xet.hash, SHA256)
    by_xet = api_of(hub).hf_hub_download("acme/model", "model.safetensors", cache_dir=tmp_path / "a")
    assert Path(by_xet).read_bytes() == WEIGHTS
    assert not hub.bytes_read
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    by_http = api_of(hub).hf_hub_download("acme/model", "model.safetensors", cache_dir=tmp_path / "b")
    assert Path(by_http).read_bytes() == WEIGHTS
    answer = get(f"{hub.url}/acme/model/resolve/main/model.safetensors", Range="bytes=9-20")
    assert (answer.history[0].headers["X-Xet-Hash"], answer.content) == (entry.xet.hash, WEIGHTS[9:21])


def test_a_checkpoint_put_into_a_repo_can_be_xets(open_hub: OpenHub, tmp_path: Path) -> None:
    hub = open_hub(xet_dir=tmp_path / "cas")
    hub.add_repo("acme/model", checkpoint(tmp_path / "model"), xet=True)
    assert hub.tree("acme/model")["model.safetensors"].xet is not None
    path = api_of(hub).hf_hub_download("acme/model", "model.safetensors", cache_dir=tmp_path / "cache")
    assert Path(path).read_bytes() == WEIGHTS


def test_a_digest_announced_wrongly_is_found_when_the_file_is_read(open_hub: OpenHub, tmp_path: Path) -> None:
    hub = open_hub(xet_dir=tmp_path / "cas")
    hub.add_repo("acme/model")
    operation = add("model.safetensors", WEIGHTS)
    operation.upload_info.sha256 = bytes(32)
    commit(hub, operation)
    answer = get(f"{hub.url}/acme/model/resolve/main/model.safetensors")
    assert (answer.status_code, SHA256 in answer.text) == (500, True)


def test_two_processes_upload_at_once(open_hub: OpenHub, tmp_path: Path) -> None:
    hub = open_hub(xet_dir=tmp_path / "cas")
    hub.add_repo("acme/model")
    script = (
        "import sys, huggingface_hub as h\n"
        "api = h.HfApi(endpoint=sys.argv[1], token='hf_alice')\n"
        "op = h.CommitOperationAdd(sys.argv[2], sys.argv[2].encode() * 99999)\n"
        "api.create_commit('acme/model', [op], commit_message='Add')\n"
    )
    names = ["a.safetensors", "b.safetensors"]
    started = [subprocess.Popen([sys.executable, "-c", script, hub.url, name]) for name in names]
    assert [each.wait() for each in started] == [0, 0]
    assert [hub.read("acme/model", name) for name in names] == [name.encode() * 99999 for name in names]
