"""How the tests of the fake Hub ask it: with the real client as alice, and what they put there."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import build_hf_headers, get_session

from tests.fakes.hub import Hub

WEIGHTS = bytes(range(256)) * 2048
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
CARD = b"---\nlicense: mit\nbase_model: [acme/base, acme/instruct]\nbase_model_relation: merge\n---\n# A merge\n"

OpenHub = Callable[..., Hub]


def api_of(hub: Hub, token: str | bool = "hf_alice") -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def checkpoint(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_bytes(b'{"model_type": "llama"}')
    (folder / "README.md").write_bytes(CARD)
    (folder / "sub").mkdir()
    (folder / "sub" / "notes.txt").write_bytes(b"notes")
    return folder


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def commit(hub: Hub, *operations: object, repo: str = "acme/model", **options: object) -> str:
    return api_of(hub).create_commit(repo, operations, commit_message="Publish", **options).oid


def get(url: str, token: str | None = None, **headers: str):
    sent = build_hf_headers(token=token or False, headers=headers)
    return get_session().get(url, headers=sent)


def with_weights(hub: Hub) -> str:
    hub.add_repo("acme/model")
    return hub.push("acme/model", {"model.safetensors": WEIGHTS})
