"""A Hub with one model, and how to open and read it."""

import contextlib
import random
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from crossfade_core.source_ref import HubRef, parse_source
from crossfade_registries.hub.client import open_hub
from crossfade_registries.hub.source import HubSource
from crossfade_registries.retrying import Patience
from tests.fakes.hub import Hub

REPO = "acme/model"
SHARD = "model.safetensors"
CONTENT = random.Random(1).randbytes(300_007)
"""Of the shard, which the Hub keeps as a large file."""
CONFIG = b'{"model_type": "llama"}'
"""Of `config.json`, which the Hub keeps as a regular file."""
QUICK = Patience(attempts=4, first_wait_seconds=0.01, longest_wait_seconds=0.05, total_seconds=20)
NOWHERE = Path("/nonexistent/hub-cache")


def open_model(
    hub: Hub,
    revision: str = "main",
    *,
    repo: str = REPO,
    token: str | None = None,
    cache: Path = NOWHERE,
    patience: Patience = QUICK,
) -> HubSource:
    """Open a repository as the service does, with the token of a configured credential or with none."""
    ref = parse_source(f"hf://{repo}@{revision}")
    assert isinstance(ref, HubRef)
    api = open_hub(hub.url, None if token is None else SecretStr(token))
    return HubSource(api, ref, cache=cache, patience=patience)


def opened(*args: Any, **options: Any) -> contextlib.closing[HubSource]:
    """Open as `open_model` does, and close at the end of the block."""
    return contextlib.closing(open_model(*args, **options))


def read(source: HubSource, file: str = SHARD, offset: int = 0, size_bytes: int | None = None) -> bytes:
    """Return a range, or all that follows `offset`."""
    content = bytearray(source.files()[file].size_bytes - offset if size_bytes is None else size_bytes)
    source.read_into(file, offset, memoryview(content))
    return bytes(content)


def counts(hub: Hub, size_bytes: int) -> bool:
    """Tell whether the Hub and its storage have sent just so much of the shard; they count when they have sent."""
    deadline = time.monotonic() + 2
    while hub.bytes_read[REPO, SHARD] < size_bytes and time.monotonic() < deadline:
        time.sleep(0.01)
    return hub.bytes_read[REPO, SHARD] == size_bytes


def ranges(hub: Hub) -> list[str | None]:
    """Return the ranges of bytes that were asked for, of the Hub or its storage, in order."""
    return [asked.range for asked in hub.requests if asked.method == "GET" and "/api/" not in asked.path]
