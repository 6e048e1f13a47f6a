"""Destinations on the Hub of the tests, sinks of theirs, and what they make of it."""

from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from crossfade_core.job import JobId
from crossfade_registries.hub.client import open_hub
from crossfade_registries.hub.scratch import Scratch
from crossfade_registries.hub.sink import HubSink
from crossfade_registries.retrying import Patience
from crossfade_registries.settings import HubDestination
from tests.fakes.http_faults import Status
from tests.fakes.hub import Hub
from tests.registries.staging import JOB

TOKEN = "hf_publisher"
NAMESPACE = "team"
REPO = f"{NAMESPACE}/tuned"
IMPATIENT = Patience(attempts=2, first_wait_seconds=0.01, longest_wait_seconds=0.02, total_seconds=300)
CARD = b"---\nbase_model:\n- org/base\nlibrary_name: transformers\n---\n# tuned\n"
FILES = {
    "model-00001-of-00002.safetensors": b"first" * 2000,
    "model-00002-of-00002.safetensors": b"second" * 2000,
    "config.json": b'{"a": 1}',
    "merges.txt": b"",
    "README.md": CARD,
    "lineage.json": b'{"job": "job-1"}\n',
}
SHARDS = {file: content for file, content in FILES.items() if file.endswith(".safetensors")}
SMALL = {file: content for file, content in FILES.items() if file not in SHARDS}
IGNORED = "ignore:Use 'content=:DeprecationWarning"
"""The client's own, of how it hands files to its HTTP library."""

OpenSink = Callable[..., HubSink]


def destination(outputs: str = "repo", **more: str) -> HubDestination:
    """Return a destination in the namespace."""
    return HubDestination.model_validate(
        {"kind": "hub", "namespace": NAMESPACE, "credential": "publisher", "outputs": outputs, **more}
    )


def open_sink(
    hub: Hub,
    scratch: Path,
    *,
    token: str = TOKEN,
    job: JobId = JOB,
    to: HubDestination | None = None,
    overwrite: bool = False,
) -> HubSink:
    """Open a sink with a client of its own, as another process would."""
    api = open_hub(hub.url, SecretStr(token))
    return HubSink(api, to or destination(), job, overwrite=overwrite, scratch=Scratch(scratch, 1), patience=IMPATIENT)


def held(hub: Hub, repo: str = REPO, revision: str = "main") -> dict[str, bytes]:
    """Return the files of a revision by path, the Hub's own left out."""
    return {path: hub.read(repo, path, revision) for path in hub.tree(repo, revision) if path != ".gitattributes"}


def asked(hub: Hub, *, method: str = "", path: str = "") -> int:
    """Return how many requests of a method held this in their path."""
    return sum(method in ("", each.method) and path in each.path for each in hub.requests)


def answer(body: bytes) -> Status:
    """Return a fault: this document, whatever was asked."""
    return Status(200, {"Content-Type": "application/json"}, body)
