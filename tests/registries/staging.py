"""Stage whole outputs the way a worker does, and look at what stands in a destination."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from crossfade_core.job import JobId
from crossfade_core.ports import Sink, StagedFile
from crossfade_registries.local.sink import STAGING

FILES = {"lineage.json": b"{}\n", "model.safetensors": b"w" * 5000, "config.json": b""}
JOB = JobId("job-1")
DISK_BYTES = 256 << 10
"""Size of the file system that is too small for some."""


def facts(files: Mapping[str, bytes]) -> dict[str, StagedFile]:
    """Return what `commit` wants to know of files."""
    return {file: StagedFile.of(content) for file, content in files.items()}


def stage(sink: Sink, name: str, files: Mapping[str, bytes] = FILES) -> dict[str, StagedFile]:
    """Stage every file of an output; return what `commit` wants to know."""
    for file, content in files.items():
        writer = sink.create_file(name, file, len(content))
        writer.write(memoryview(content))
        writer.finish(hashlib.sha256(content).hexdigest())
    return facts(files)


def publish(sink: Sink, name: str, files: Mapping[str, bytes] = FILES) -> str:
    """Stage an output and publish it."""
    return sink.commit(name, stage(sink, name, files))


def content(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by path, staging included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def visible(folder: Path) -> set[str]:
    """Return the names at the top of a destination, staging left out."""
    return {path.name for path in folder.iterdir()} - {STAGING}
