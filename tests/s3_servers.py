"""Start real S3 servers for the tests, each on free ports with a folder of its own, and stop them.

`moto_server` is quick, keeps everything in memory and believes any signature. `swift_server` is OpenStack Swift: it
keeps objects on disk and checks signatures and checksums as a store does.
"""

import contextlib
import functools
import http.client
import os
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from crossfade_cli.processes import Child, RunningChild
from tests.held_ports import held_port, held_ports
from tests.swift_config import REGION, STORAGE_SERVERS, SwiftUser, write_config
from tests.swift_install import swift_programs

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

START_SECONDS = 60

_TESTER = SwiftUser("test", "tester", "testing")
_STRANGER = SwiftUser("test", "stranger", "strange", is_admin=False)

_SESSIONS_LOCK = threading.Lock()
"""A session makes one client at a time (https://boto3.amazonaws.com/v1/documentation/api/latest/guide/session.html)."""


@dataclass(frozen=True)
class S3Server:
    """Where an S3 server listens, and keys it knows."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = REGION

    def client(self, **options: Any) -> "S3Client":
        """Return a new client, to be closed, that tries each request once; `options` go to botocore's `Config`."""
        plain = {
            "retries": {"total_max_attempts": 1},
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        with _SESSIONS_LOCK:
            session = _session(self.access_key, self.secret_key, self.region)
            return session.client("s3", endpoint_url=self.endpoint_url, config=Config(**plain | options))

    def new_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        with contextlib.closing(self.client()) as client:
            client.create_bucket(Bucket=name)
        return name


@dataclass(frozen=True)
class MotoServer(S3Server):
    """A moto, which can be made to forget."""

    def reset(self) -> None:
        """Drop all buckets, within milliseconds."""
        urllib.request.urlopen(f"{self.endpoint_url}/moto-api/reset", data=b"").close()


@dataclass(frozen=True)
class SwiftServer(S3Server):
    """A Swift, which knows a second user."""

    @property
    def for_stranger(self) -> S3Server:
        """The same server with the valid keys of a user who may neither read nor write there."""
        return S3Server(self.endpoint_url, _STRANGER.access_key, _STRANGER.secret_key, self.region)


@functools.cache
def _session(access_key: str, secret_key: str, region: str) -> boto3.Session:
    # Kept, because a session's first client takes a tenth of a second and the next ones a tenth of that.
    return boto3.Session(access_key, secret_key, region_name=region)


@contextlib.contextmanager
def moto_server(folder: Path) -> Iterator[MotoServer]:
    """Run moto in a process of its own that logs into `folder`.

    Raises:
        RuntimeError: It did not start; the message ends with its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held_port() as port:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        with _running([Child("moto", command, os.environ)], [port], folder):
            yield MotoServer(f"http://127.0.0.1:{port}", "test-access-key", "test-secret-key")


@contextlib.contextmanager
def swift_server(folder: Path) -> Iterator[SwiftServer]:
    """Run Swift's four servers, which keep everything in `folder`: on a file system with extended attributes.

    Raises:
        ProgramMissing: Swift is not installed and could not be.
        RuntimeError: The file system has none, or a server did not start; the message ends with its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _need_attributes(folder)
    programs = swift_programs()
    names = (*STORAGE_SERVERS, "proxy")
    etc = folder / "etc"
    environment = {"PATH": os.environ["PATH"], "SWIFT_CONF_FILE": str(etc / "swift.conf")}
    children = [
        Child(name, [str(programs / f"swift-{name}-server"), str(etc / f"{name}.conf"), "--verbose"], environment)
        for name in names
    ]
    with held_ports(len(names)) as held:
        ports = dict(zip(names, held, strict=True))
        write_config(folder, ports, (_TESTER, _STRANGER), programs)
        with _running(children, held, folder):
            yield SwiftServer(f"http://127.0.0.1:{ports['proxy']}", _TESTER.access_key, _TESTER.secret_key)


@contextlib.contextmanager
def _running(children: Sequence[Child], ports: Sequence[int], folder: Path) -> Iterator[None]:
    """Run servers, once each answers at its port, until the block ends; they die with this process at the latest."""
    with contextlib.ExitStack() as stack:
        running = []
        for child in children:
            running.append(RunningChild(child, folder / f"{child.name}.log", folder))
            stack.callback(running[-1].kill)
        deadline = time.monotonic() + START_SECONDS
        for server, port in zip(running, ports, strict=True):
            while not _answers(port):
                if server.collect() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{server.name} did not start; its log ends:\n{server.last_lines()}")
                time.sleep(0.02)
        yield


def _answers(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)) as connection:
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            return False
    return True


def _need_attributes(folder: Path) -> None:
    try:
        os.setxattr(folder, "user.crossfade", b"1")
    except OSError as error:
        raise RuntimeError(
            f"Swift keeps facts about objects in extended attributes, which {folder} refuses ({error.strerror}): "
            "let TMPDIR name a folder on ext4, xfs, btrfs, or a tmpfs of Linux 6.6 or newer"
        ) from error
