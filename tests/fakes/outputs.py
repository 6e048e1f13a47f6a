"""Published outputs written by hand: some files, and a lineage that tells of them."""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

OUTPUT_FILES: Final[dict[str, bytes]] = {
    "model-00001-of-00002.safetensors": random.Random(1).randbytes(20_000_003),
    "model-00002-of-00002.safetensors": random.Random(2).randbytes(70_001),
    "config.json": b'{"model_type": "llama"}',
    "empty.txt": b"",
}
"""The first is more than two chunks of a fetch."""


def lineage_of(files: Mapping[str, bytes], **changes: Any) -> bytes:
    """Return a lineage as far as a fetch reads it; `changes` are entries of its outputs, None to leave one out."""
    outputs = {
        name: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    } | changes
    told = {name: facts for name, facts in outputs.items() if facts is not None}
    return json.dumps({"schema": "crossfade.lineage/3", "outputs": told}).encode()


def write_output(folder: Path, files: Mapping[str, bytes] = OUTPUT_FILES) -> Path:
    """Write an output's folder and return it."""
    folder.mkdir(parents=True)
    for name, content in {**files, "lineage.json": lineage_of(files)}.items():
        (folder / name).write_bytes(content)
    return folder


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
