"""An output to publish, sinks that do, and what the places show of it."""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossfade_core.job import JobId
from crossfade_core.ports import Sink
from crossfade_core.spec import MergeSpec
from crossfade_registries.config import Registries
from tests.ports.places import DESTINATION, Place, registries_of
from tests.registries.staging import facts

JOB, OTHER = JobId("job-1"), JobId("job-2")
NAME = "tuned"
SHARD = "model-00001-of-00002.safetensors"
SECOND = "model-00002-of-00002.safetensors"
CARD = b"---\nbase_model:\n- acme/base\nlibrary_name: transformers\n---\n# tuned\n"
FILES = {
    "config.json": b'{"a": 1}',
    "lineage.json": b'{"job": "job-1"}\n',
    SHARD: random.Random(3).randbytes((5 << 20) + 1_000),  # two parts of an upload to S3
    SECOND: random.Random(4).randbytes(3_000),
    "model.safetensors.index.json": b'{"weight_map": {}}',
    "README.md": CARD,
    "tokenizer.json": b"",
}
SHARDS = {file: content for file, content in FILES.items() if file.endswith(".safetensors")}
SMALL = {file: content for file, content in FILES.items() if file not in SHARDS}
THEIRS = {
    **FILES,
    "lineage.json": b'{"job": "job-2"}\n',
    SECOND: b"of the other job",
    "model-00003-of-00003.safetensors": b"one more",
}
PLANNED = facts(FILES)


IGNORED = "ignore:Use 'content=:DeprecationWarning"
"""The Hub client's own, of how it hands files to its HTTP library."""


@dataclass(frozen=True)
class Service:
    """A process of a service that publishes to a place."""

    place: Place
    scratch: Path

    @functools.cached_property
    def registries(self) -> Registries:
        """The process's own."""
        return registries_of(self.place, self.place, self.scratch)

    def restarted(self) -> "Service":
        """Return another process of the same service."""
        return Service(self.place, self.scratch)

    def sink(self, job: JobId = JOB, *, overwrite: bool = False) -> Sink:
        """Open the destination for a job."""
        uris = {"base": "hf://acme/base", "instruct": "hf://acme/instruct"}
        spec = MergeSpec(**uris, destination=DESTINATION, lambdas=[0.5], overwrite=overwrite)
        return self.registries.open_sink(spec, job)

    def read(self, uri: str) -> dict[str, bytes]:
        """Return the files of what was published, read as a job would that names it as its source."""
        source = self.registries.open_source(self.place.as_source(uri))
        found = {name: bytearray(info.size_bytes) for name, info in source.files().items()}
        for name, content in found.items():
            source.read_into(name, 0, memoryview(content))
        source.close()
        return {name: bytes(content) for name, content in found.items()}


def below(name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return files by path, as an output of that name."""
    return {f"{name}/{file}": content for file, content in files.items()}
