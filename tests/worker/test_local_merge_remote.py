"""The merge without a service reads what its user may read: the Hub, S3, with the user's own credentials."""

import os
from pathlib import Path

import pytest

from tests.fakes.checkpoints import random_pair
from tests.fakes.hub import Hub
from tests.s3_servers import moto_server
from tests.worker.test_local_merge import job, merge


def published(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*.safetensors")}


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No credential and no endpoint of the machine that the tests run on."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home/hf"))
    return monkeypatch


@pytest.fixture
def pair(tmp_path):
    return random_pair(tmp_path / "models", base_shards=2, instruct_shards=3)


@pytest.fixture
def of_folders(pair, tmp_path):
    """What the same merge of the same pair in folders gives."""
    status, _, _ = merge(job(pair.base, pair.instruct, tmp_path / "local"))
    assert status == 0
    return published(tmp_path / "local")


def test_models_of_the_hub_are_read_with_the_users_token(clean, pair, of_folders, tmp_path):
    with Hub(tmp_path / "hub") as hub:
        hub.add_token("hf_mine", "me", read=["acme"])
        for side in ("base", "instruct"):
            hub.add_repo(f"acme/{side}", getattr(pair, side), private=True)
        clean.setenv("HF_ENDPOINT", hub.url)
        request = job("hf://acme/base", "hf://acme/instruct@main", tmp_path / "out")
        status, events, _ = merge(request)
        assert (status, events[-1]["error"]["code"]) == (1, "source_not_found")
        clean.setenv("HF_TOKEN", "hf_mine")
        status, events, stderr = merge(request)
        assert (status, stderr) == (0, "")
    assert published(tmp_path / "out") == of_folders


def test_models_in_a_bucket_are_read_with_the_users_keys_and_one_side_may_be_a_folder(
    clean, pair, of_folders, tmp_path
):
    with moto_server(tmp_path / "s3") as server:
        bucket, client = server.new_bucket(), server.client()
        for file in pair.base.iterdir():
            client.upload_file(str(file), bucket, f"models/base/{file.name}")
        clean.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
        clean.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        clean.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        status, _, stderr = merge(job(f"s3://{bucket}/models/base", pair.instruct, tmp_path / "out"))
        assert (status, stderr) == (0, "")
        gone = merge(job(f"s3://{bucket}/models/absent", pair.instruct, tmp_path / "none"))
    assert published(tmp_path / "out") == of_folders
    assert gone[1][-1]["error"]["code"] == "source_not_found"
    assert not (tmp_path / "none").exists()
