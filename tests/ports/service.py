"""The use cases of a whole service whose sources and destination are at places of any kind."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from crossfade_core.job import Job, UnitId
from crossfade_core.own_files import OWN_FILES
from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Resources
from crossfade_worker.run_unit import RunUnit, UnitSettings
from tests.fakes.checkpoints import Pair, small_files, write_checkpoint
from tests.ports.places import DESTINATION, Place, registries_of
from tests.worker.deployment import CHUNK_BYTES, LEASE_SECONDS, Deployment

OUTPUT = "tuned-{lambda}"
OF_THEIR_JOB = tuple(OWN_FILES)
"""Files of an output that tell of its job and sources, and so differ from job to job."""


LAMBDAS = (0.0, 0.5, 1.0)
SHARD_BYTES = 12 << 20
"""Of each shard of the large pair: more than two parts of an upload."""


class PlacedDeployment(Deployment):
    """A deployment with its parents at one place and its destination at another; both may be the same.

    Args:
        folder: For everything on this machine.
        engine: A database with its schema.
        source: Where the parents are put.
        destination: Where outputs go.
        pair: The parents; the small pair of every deployment unless given.
        chunk_bytes: Of the engine.
        requires_approval: Of the destination.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        source: Place,
        destination: Place,
        *,
        pair: Pair | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        requires_approval: bool = False,
    ) -> None:
        super().__init__(folder, engine)
        self.pair = pair or self.pair
        self.source, self.destination = source, destination
        self.uris = {role: source.put(role, getattr(self.pair, role)) for role in ("base", "instruct")}
        self._scratch, self._chunk_bytes = folder / "scratch", chunk_bytes
        self._requires_approval = requires_approval
        self._scratch.mkdir()
        self.restart()

    def restart(self) -> None:
        """Go on as new processes would: with clients and caches of their own."""
        self.registries = registries_of(
            self.source, self.destination, self._scratch, requires_approval=self._requires_approval
        )

    def submit(self, **changes: Any) -> Job:
        """Store a job that reads and publishes there, and send it off."""
        return super().submit(**{**self.uris, "destination": DESTINATION, "output_name": OUTPUT, **changes})

    def run_unit(self, unit_id: str, owner: str = "merge-1") -> None:
        resources = Resources(CpuDevice(), threads=2, chunk_bytes=self._chunk_bytes)
        settings = UnitSettings(owner, LEASE_SECONDS, resources, keep_failed_seconds=self.keep_failed_seconds)
        registries = (self.open_source, self.registries.open_sink)
        RunUnit(self.store, self.queue, self.clock, registries, settings)(UnitId(unit_id))

    def run(self, **changes: Any) -> Job:
        """Submit a job and deliver every message; return it as it ended."""
        job = self.submit(**changes)
        self.deliver_through_waits()
        return self.job(job)

    def merged_files(self) -> dict[str, str]:
        """Return the SHA-256 of every visible file, by output and name, but of those that tell of their job."""
        return digests(
            {path: body for path, body in self.destination.visible().items() if not path.endswith(OF_THEIR_JOB)}
        )

    def lineages(self) -> list[dict[str, Any]]:
        """Return the lineage of every output."""
        found = self.destination.visible()
        return [json.loads(found[path]) for path in sorted(found) if path.endswith("/lineage.json")]


def check_succeeds(
    deployment: PlacedDeployment, expected: Mapping[str, str], *, lambdas: Sequence[float] = (0.5,), **changes: Any
) -> None:
    """Run a job, and hold that it leaves just the files that are expected of these λ, and nothing staged."""
    job = deployment.run(lambdas=list(lambdas), **changes)
    assert (job.state, job.error) == ("SUCCEEDED", None)
    assert deployment.merged_files() == of_lambdas(expected, *lambdas)
    assert deployment.destination.staged() == set()


def of_lambdas(expected: Mapping[str, str], *lambdas: float) -> dict[str, str]:
    """Return what is expected of some of the λ."""
    names = tuple(OUTPUT.replace("{lambda}", f"{lam}/") for lam in lambdas)
    return {path: sha256 for path, sha256 in expected.items() if path.startswith(names)}


def write_large_pair(folder: Path) -> Pair:
    """Write two shards a side, cut alike, of bf16 numbers below 2."""
    chance = random.Random(5)
    names = [f"model.layers.{number}.mlp.down_proj.weight" for number in range(4)]

    def checkpoint(role: str) -> Path:
        tensors = {name: ("BF16", (SHARD_BYTES // 4 // 1024, 1024), _finite(chance)) for name in names}
        return write_checkpoint(folder / role, tensors, shards=[names[:2], names[2:]], extra_files=small_files(role))

    return Pair(checkpoint("base"), checkpoint("instruct"))


def tensors_of(shard: bytes) -> bytes:
    """Return the bytes of a large shard behind its header, which an output has of its own."""
    return shard[-SHARD_BYTES:]


def _finite(chance: random.Random) -> bytes:
    content = bytearray(chance.randbytes(SHARD_BYTES // 2))
    content[1::2] = content[1::2].translate(bytes(byte & 0xBF for byte in range(256)))  # the exponent's first bit off
    return bytes(content)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
