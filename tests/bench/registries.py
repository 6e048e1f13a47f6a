"""The registries of the bench as their users see them: how to reach them, what they counted, what lies there."""

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
from huggingface_hub import HfApi

from tests.s3_servers import S3Server

NAMESPACE: Final = "bench"
TOKEN: Final = "hf_bench"
SOURCES: Final = "models"
OUTPUTS: Final = "outputs"
"""Destination id and, on S3, the name of its bucket."""
_BLOCK_BYTES: Final = 1 << 20
_ANSWER_SECONDS: Final = 120


@dataclass(frozen=True)
class Counts:
    """What a registry counted since it was told to count from 0.

    Attributes:
        requests: All of them.
        read: Bytes sent of bodies, by `CHECKPOINT/FILE` where it is an input, else by whatever was asked for.
        written_bytes: Bytes of all bodies received.
    """

    requests: int
    read: Mapping[str, int]
    written_bytes: int

    @property
    def input_bytes(self) -> int:
        """Bytes sent of checkpoints that are inputs."""
        parents = ("-base/", "-instruct/")
        return sum(count for key, count in self.read.items() if any(parent in key for parent in parents))


class Registry(Protocol):
    """One kind of registry, running.

    Attributes:
        name: For the table.
        kind: For `registry_client`, as are the two places:
        inputs: The namespace or bucket of the pairs.
        outputs: That of the outputs.
        registries: What `crossfade serve --registries` is given.
        env: What makes clients on this machine use it.
        pids: Its processes.
    """

    name: str
    kind: str
    inputs: str
    outputs: str
    registries: Mapping[str, Any]
    env: Mapping[str, str]
    pids: Sequence[int]

    def uri(self, checkpoint: str) -> str:
        """Return what a job calls an input."""

    def counts(self) -> Counts:
        """Return what was counted."""

    def clear(self) -> None:
        """Count from 0."""

    def shards(self, output: str) -> dict[str, str]:
        """Return the SHA-256 of every shard that lies there now, by file."""


class HubRegistry:
    """A Hub of the tests."""

    name, kind = "Hub", "hub"
    inputs = outputs = NAMESPACE

    def __init__(self, url: str, pid: int) -> None:
        self._url, self.pids = url, [pid]
        self.registries = {
            "credentials": {"hub": {"token": TOKEN}},
            "hub": {"endpoint": url, "credential": "hub", "repos": [f"{NAMESPACE}/*"]},
            "destinations": {
                OUTPUTS: {"kind": "hub", "endpoint": url, "namespace": NAMESPACE, "credential": "hub"},
            },
        }
        self.env = {"HF_ENDPOINT": url, "HF_TOKEN": TOKEN}

    def uri(self, checkpoint: str) -> str:
        """Return what a job calls an input."""
        return f"hf://{NAMESPACE}/{checkpoint}@main"

    def counts(self) -> Counts:
        """Return what was counted."""
        told = _get(f"{self._url}/_counters")
        read = {key.removeprefix(f"{NAMESPACE}/"): count for key, count in told["bytes_read"].items()}
        return Counts(len(told["requests"]), read, sum(told["bytes_written"].values()))

    def clear(self) -> None:
        """Count from 0."""
        _delete(f"{self._url}/_counters")

    def shards(self, output: str) -> dict[str, str]:
        """Return the SHA-256 of every shard that lies there now, which the Hub verified when it came."""
        listed = HfApi(self._url, token=TOKEN).model_info(f"{NAMESPACE}/{output}", files_metadata=True).siblings or []
        return {each.rfilename: each.lfs.sha256 for each in listed if each.lfs and each.rfilename.startswith("model-")}


class S3Registry:
    """A Swift behind a proxy that counts and limits."""

    name, kind = "S3", "s3"
    inputs, outputs = SOURCES, OUTPUTS

    def __init__(self, url: str, server: S3Server, pids: Sequence[int]) -> None:
        self._url, self._server, self.pids = url, server, pids
        access = {"endpoint_url": url, "path_style": True, "credential": "store"}
        self.registries = {
            "credentials": {
                "store": {"access_key_id": server.access_key, "secret_access_key": server.secret_key},
            },
            "buckets": {SOURCES: access},
            # Of what comes in parts Swift states MD5 alone.
            "destinations": {OUTPUTS: {"kind": "s3", "bucket": OUTPUTS, "checksums": "md5", **access}},
        }
        self.env = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_REGION": server.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def uri(self, checkpoint: str) -> str:
        """Return what a job calls an input."""
        return f"s3://{SOURCES}/{checkpoint}"

    def counts(self) -> Counts:
        """Return what was counted."""
        told = _get(f"{self._url}/_proxy/counters")
        read = {key.removeprefix(f"GET /{SOURCES}/"): count for key, count in told["bytes_read"].items()}
        return Counts(len(told["requests"]), read, sum(told["bytes_written"].values()))

    def clear(self) -> None:
        """Count from 0."""
        _delete(f"{self._url}/_proxy/counters")

    def shards(self, output: str) -> dict[str, str]:
        """Read every shard that lies there now, past the proxy, and return the SHA-256."""
        found = {}
        with contextlib.closing(self._server.client()) as client:
            for entry in client.list_objects_v2(Bucket=OUTPUTS, Prefix=f"{output}/model-")["Contents"]:
                if not entry["Key"].endswith(".safetensors"):
                    continue
                digest = hashlib.sha256()
                for block in client.get_object(Bucket=OUTPUTS, Key=entry["Key"])["Body"].iter_chunks(_BLOCK_BYTES):
                    digest.update(block)
                found[entry["Key"].removeprefix(f"{output}/")] = digest.hexdigest()
        return found


def _get(url: str) -> Any:
    return httpx.get(url, trust_env=False, timeout=_ANSWER_SECONDS).raise_for_status().json()


def _delete(url: str) -> None:
    httpx.delete(url, trust_env=False, timeout=_ANSWER_SECONDS).raise_for_status()
