"""The digest that the merge computed is the one the Hub is told and checks; nobody computes it again on this side."""

import hashlib
import random

import pytest
from huggingface_hub import CommitOperationAdd, constants
from huggingface_hub._commit_api import _prepare_commit_payload

from crossfade_core.errors import StagedFileCorrupted
from crossfade_core.ports import StagedFile
from crossfade_registries.hub.operations import addition, oid, staged_file, uploaded_addition
from tests.fakes.http_faults import WrongBytes
from tests.fakes.hub import Hub
from tests.registries.hub_sink.publishing import FILES, IGNORED, NAMESPACE, REPO, SHARDS, TOKEN, held, open_sink
from tests.registries.staging import publish, stage

pytestmark = pytest.mark.filterwarnings(IGNORED)

STAGED = StagedFile(7, hashlib.sha256(b"content").hexdigest())


def test_client_hashes_no_file(any_hub, scratch, monkeypatch):
    hashed = []
    for name in ("sha256", "sha_fileobj"):
        real = getattr(__import__("huggingface_hub.lfs", fromlist=[name]), name)
        monkeypatch.setattr(
            f"huggingface_hub.lfs.{name}", lambda content, real=real: (hashed.append(content), real(content))[1]
        )
    publish(open_sink(any_hub, scratch), "tuned", FILES)
    assert [content for content in hashed if content != b""] == []  # what is committed without content has none


def test_xet_believes_the_digest_it_is_told(tmp_path, scratch, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    told = "ab" * 32
    with Hub(tmp_path / "hub", xet_dir=tmp_path / "xet") as hub:
        hub.add_token(TOKEN, "publisher", write=[NAMESPACE])
        writer = open_sink(hub, scratch).create_file("tuned", "model.safetensors", 5000)
        writer.write(memoryview(b"w" * 5000))
        writer.finish(told)
        assert hub.state.has_object(hub.repo(REPO), told)


def test_equal_shard_costs_xet_next_to_nothing(tmp_path, scratch, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    shard = {"model.safetensors": random.Random(1).randbytes(2_000_000)}
    with Hub(tmp_path / "hub", xet_dir=tmp_path / "xet", shared_xet=True) as hub:
        hub.add_token(TOKEN, "publisher", write=[NAMESPACE])
        sizes = []
        for name in ("tuned-0.0", "tuned-1.0"):
            publish(open_sink(hub, scratch), name, shard)
            sizes.append(sum(path.stat().st_size for path in (tmp_path / "xet").rglob("xorbs/default*")))
        assert sizes[0] > 1_900_000
        assert sizes[1] == sizes[0]


def test_bytes_that_arrive_wrong_are_noticed_and_nothing_becomes_visible(hub, opened):
    hub.fail(WrongBytes(17), method="PUT", origin="storage")
    with pytest.raises(
        StagedFileCorrupted, match=r"model-00001-of-00002\.safetensors: the Hub did not receive what was sent"
    ) as caught:
        stage(opened(), "tuned", SHARDS)
    assert caught.value.retryable
    publish(opened(), "tuned", FILES)
    assert held(hub) == FILES


def test_addition_from_a_path_takes_the_digest_as_it_is_given(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    told = StagedFile(7, "ab" * 32)
    assert staged_file(addition("model.safetensors", tmp_path / "file", told)) == told


@pytest.mark.parametrize(
    ("file", "size_bytes", "mode"),
    [
        ("model.safetensors", 7, "lfs"),
        ("config.json", 7, None),
        ("config.json", 10 << 20, None),
        ("config.json", (10 << 20) + 1, "lfs"),
    ],
)
def test_hub_is_asked_about_small_files_that_are_no_weights_only(tmp_path, file, size_bytes, mode):
    (tmp_path / "file").write_bytes(b"content")
    assert addition(file, tmp_path / "file", StagedFile(size_bytes, STAGED.sha256))._upload_mode == mode


def test_what_others_uploaded_is_what_the_client_would_commit_had_it_uploaded_it(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    own = CommitOperationAdd("model.safetensors", tmp_path / "file")
    own._upload_mode = "lfs"
    rebuilt = uploaded_addition("model.safetensors", STAGED)
    payloads = [list(_prepare_commit_payload([each], {}, "title")) for each in (own, rebuilt)]
    assert payloads[0] == payloads[1]
    assert payloads[1][1]["value"]["oid"] == STAGED.sha256
    assert rebuilt._is_uploaded


def test_fields_that_are_used_of_the_clients_additions_are_there():
    fields = CommitOperationAdd.__dataclass_fields__
    used = {"_upload_mode", "_should_ignore", "_remote_oid", "_is_uploaded", "upload_info", "path_or_fileobj"}
    assert used <= fields.keys()


@pytest.mark.parametrize(
    ("mode", "name"), [("lfs", STAGED.sha256), ("regular", hashlib.sha1(b"blob 7\0content").hexdigest())]
)
def test_content_is_called_what_the_hub_will_call_it(tmp_path, mode, name):
    (tmp_path / "file").write_bytes(b"content")
    operation = addition("config.json", tmp_path / "file", STAGED)
    operation._upload_mode = mode
    assert oid(operation) == name
