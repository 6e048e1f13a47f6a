"""The registries of the bench, each in processes of its own: the pairs they hold, how to reach them, what they counted.

A Hub of the tests, and OpenStack Swift behind a proxy; both limit the rate of all bodies together, each way.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import psutil
from boto3.s3.transfer import TransferConfig
from huggingface_hub import HfApi

from crossfade_cli.processes import Child, RunningChild
from tests.s3_servers import S3Server, swift_server

START_SECONDS: Final = 120
NAMESPACE: Final = "bench"
TOKEN: Final = "hf_bench"
SOURCES: Final = "models"
OUTPUTS: Final = "outputs"
"""Destination id and, on S3, the name of its bucket."""
LEAST_RATE_MB: Final = 0.001
_BLOCK_BYTES: Final = 1 << 20
_PAIR_UPLOAD: Final = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=2)

Folders = Mapping[str, Path]
"""Of the checkpoints that a registry is to hold, by name."""


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


@contextlib.contextmanager
def hub_registry(folder: Path, pairs: Folders, bytes_per_second: float | None) -> Iterator[Registry]:
    """Run a Hub that holds these checkpoints."""
    repos = [f"--repo={NAMESPACE}/{name}={path}" for name, path in pairs.items()]
    command = ["tests.fakes.hub", "--folder", str(folder / "hub"), "--token", f"{TOKEN}:{NAMESPACE}", *repos]
    with _program("hub", [*command, *_limit(bytes_per_second)], folder) as (told, hub):
        yield HubRegistry(told["hub"], hub.pid)


@contextlib.contextmanager
def s3_registry(folder: Path, pairs: Folders, bytes_per_second: float | None) -> Iterator[Registry]:
    """Run a Swift that holds these checkpoints, and a proxy in front of it."""
    before = set(_children())
    with swift_server(folder) as server:
        with contextlib.closing(server.client()) as client:
            for bucket in (SOURCES, OUTPUTS):
                client.create_bucket(Bucket=bucket)
            for name, path in pairs.items():
                for file in path.iterdir():
                    client.upload_file(str(file), SOURCES, f"{name}/{file.name}", Config=_PAIR_UPLOAD)
        command = ["tests.fakes.http_proxy", "--upstream", server.endpoint_url, *_limit(bytes_per_second)]
        with _program("proxy-limit", command, folder) as (told, _):
            yield S3Registry(told["url"], server, sorted(set(_children()) - before))


def announced(child: RunningChild) -> dict[str, Any]:
    """Wait for the line of JSON that a program says it is ready with, and return what it tells.

    Raises:
        RuntimeError: It did not start; the message ends with its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        for line in child.log.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                told: dict[str, Any] = json.loads(line)
                return told
        if child.collect() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} did not start; its log ends:\n{child.last_lines()}")
        time.sleep(0.02)


@contextlib.contextmanager
def _program(name: str, module: Sequence[str], folder: Path) -> Iterator[tuple[dict[str, Any], RunningChild]]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = RunningChild(Child(name, [sys.executable, "-m", *module], env), folder / f"{name}.log", folder)
    with contextlib.ExitStack() as stack:
        stack.callback(child.kill)
        yield announced(child), child


def _children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def _limit(bytes_per_second: float | None) -> list[str]:
    return [] if bytes_per_second is None else ["--bytes-per-second", str(bytes_per_second)]


def _get(url: str) -> Any:
    return httpx.get(url, trust_env=False, timeout=START_SECONDS).raise_for_status().json()


def _delete(url: str) -> None:
    httpx.delete(url, trust_env=False, timeout=START_SECONDS).raise_for_status()
