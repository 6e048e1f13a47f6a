"""A checkpoint to read, and how."""

import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from crossfade_core.ports import Source
from crossfade_registries.config import Registries
from tests.ports.places import Place, RemotePlace, registries_of

SHARD = "model.safetensors"
CONTENT = random.Random(1).randbytes(300_007)
"""Of the shard: larger than the first bytes that sources keep."""
CONFIG = b'{"model_type": "llama"}'
FILES = {SHARD: CONTENT, "config.json": CONFIG, "tokenizer.json": b"{}", "empty.txt": b""}
BELOW = "onnx/model.onnx"
LARGE = random.Random(2).randbytes(20_000_003)
"""Some blocks of what is fetched ahead, and a part of one."""


@dataclass(frozen=True)
class Model:
    """A checkpoint at a place, and a service that may read it."""

    place: Place
    name: str
    uri: str
    registries: Registries

    @contextlib.contextmanager
    def opened(self, uri: str = "") -> Iterator[Source]:
        """Open it, or another URI, until the block ends."""
        with contextlib.closing(self.registries.open_source(uri or self.uri)) as source:
            yield source


def model_at(place: Place, folder: Path, files: Mapping[str, bytes] = FILES) -> Model:
    """Put a checkpoint at a place; `folder` is for everything on this machine."""
    uri = place.put("model", write_folder(folder / "checkpoint", files))
    return Model(place, "model", uri, registries_of(place, place, folder))


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files, with one in a subfolder, and return the folder."""
    for name, content in {**files, BELOW: b"below the top"}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read(source: Source, file: str = SHARD, start: int = 0, end: int | None = None) -> bytes:
    """Return a range, or all that follows `start`."""
    content = bytearray((source.files()[file].size_bytes if end is None else end) - start)
    source.read_into(file, start, memoryview(content))
    return bytes(content)


def fetched(place: RemotePlace, name: str, file: str, at_least: int) -> int:
    """Return how many bytes of a file went out; servers count when they have sent, and may need a moment."""
    deadline = time.monotonic() + 2
    while place.read_bytes(name)[file] < at_least and time.monotonic() < deadline:
        time.sleep(0.01)
    return place.read_bytes(name)[file]
