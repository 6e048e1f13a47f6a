"""The use cases of a whole service whose sources and destination are at places of any kind."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from crossfade_core.job import Job, UnitId
from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Resources
from crossfade_worker.run_unit import RunUnit, UnitSettings
from tests.fakes.checkpoints import Pair
from tests.ports.places import DESTINATION, Place, registries_of
from tests.worker.deployment import CHUNK_BYTES, LEASE_SECONDS, Deployment

OUTPUT = "tuned-{lambda}"
OF_THEIR_JOB = ("README.md", "lineage.json")
"""Files of an output that tell of its job and sources, and so differ from job to job."""


class PlacedDeployment(Deployment):
    """A deployment with its parents at one place and its destination at another; both may be the same.

    Args:
        folder: For everything on this machine.
        engine: A database with its schema.
        source: Where the parents are put.
        destination: Where outputs go.
        pair: The parents; the small pair of every deployment unless given.
        chunk_bytes: Of the engine.
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
    ) -> None:
        super().__init__(folder, engine)
        self.pair = pair or self.pair
        self.source, self.destination = source, destination
        self.uris = {role: source.put(role, getattr(self.pair, role)) for role in ("base", "instruct")}
        self._scratch, self._chunk_bytes = folder / "scratch", chunk_bytes
        self._scratch.mkdir()
        self.restart()

    def restart(self) -> None:
        """Go on as new processes would: with clients and caches of their own."""
        self.registries = registries_of(self.source, self.destination, self._scratch)

    def submit(self, **changes: Any) -> Job:
        """Store a job that reads and publishes there, and send it off."""
        return super().submit(**{**self.uris, "destination": DESTINATION, "output_name": OUTPUT, **changes})

    def run_unit(self, unit_id: str, owner: str = "merge-1") -> None:
        settings = UnitSettings(owner, LEASE_SECONDS, Resources(CpuDevice(), threads=2, chunk_bytes=self._chunk_bytes))
        registries = (self.open_source, self.registries.open_sink)
        RunUnit(self.store, self.queue, self.clock, registries, settings)(UnitId(unit_id))

    def run(self, **changes: Any) -> Job:
        """Submit a job and deliver every message; return it as it ended."""
        job = self.submit(**changes)
        self.deliver()
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


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
