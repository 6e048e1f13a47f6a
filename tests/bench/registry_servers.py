"""Start the registries of the bench, each in processes of its own, with the pairs they are to hold.

A Hub of the tests, and OpenStack Swift behind a proxy; both limit the rate of all bodies together, each way.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from boto3.s3.transfer import TransferConfig

from crossfade_cli.processes import Child, RunningChild
from tests.bench.registries import NAMESPACE, OUTPUTS, SOURCES, TOKEN, HubRegistry, Registry, S3Registry
from tests.s3_servers import swift_server

START_SECONDS: Final = 120
_PAIR_UPLOAD: Final = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=2)

Folders = Mapping[str, Path]
"""Of the checkpoints that a registry is to hold, by name."""


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
        with contextlib.closing(server.client(retries={"total_max_attempts": 5})) as client:
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
