"""Both ways from registry to registry: the service's one pass, and fetching all, merging here, sending all."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.registries import Counts, Registry
from tests.bench.registry_service import CLI, Job, Service, client_environment
from tests.bench.watch import cpu_seconds

SMALL: Final = "small"
"""The pair that the service warms up with."""
_LAST_WORDS: Final = 2000


@dataclass(frozen=True)
class Streamed:
    """One job of ours: what it took, what the registry counted meanwhile, the CPU time of the registry's processes."""

    job: Job
    counts: Counts
    registry_cpu_seconds: float


@dataclass(frozen=True)
class Steps:
    """The other way: seconds of each step, without the start of its process; SHA-256 of the shards of each output."""

    fetch_seconds: float
    merge_seconds: float
    send_seconds: float
    shards: Sequence[Mapping[str, str]]

    @property
    def seconds(self) -> float:
        """Of all three."""
        return self.fetch_seconds + self.merge_seconds + self.send_seconds


@dataclass(frozen=True)
class Planning:
    """What planning asks of a registry, and how long `crossfade merge --dry-run` takes for it."""

    requests: int
    read_bytes: int
    seconds: float


def parents(pair: str) -> tuple[str, str]:
    """Return what a registry calls the two checkpoints of a pair."""
    return f"{pair}-base", f"{pair}-instruct"


class Runs:
    """Runs of both ways on one registry.

    Args:
        registry: Which; holds the pairs.
        running: A service that reads and writes it; does a small job first, as a service has.
        lambdas: Of every run.
        folder: Where the other way puts what it keeps; removed after each run.
    """

    def __init__(self, registry: Registry, running: Service, lambdas: Sequence[float], folder: Path) -> None:
        self._registry, self._service, self._lambdas, self._folder = registry, running, lambdas, folder
        running.warm_up(*self._uris(SMALL))

    def stream(self, pair: str, name: str) -> Streamed:
        """Merge with the service."""
        self._registry.clear()
        before = cpu_seconds(self._registry.pids)
        job = self._service.merge(*self._uris(pair), self._lambdas, output_name=f"{name}-{{lambda}}")
        return Streamed(job, self._registry.counts(), cpu_seconds(self._registry.pids) - before)

    def take_steps(self, pair: str, name: str) -> Steps:
        """Fetch, merge, send."""
        folder = self._new_folder(name)
        names = [f"{name}-{lam}" for lam in self._lambdas]
        base, instruct = (folder / "fetched" / parent for parent in parents(pair))
        try:
            fetch_seconds = self._client("fetch", folder / "fetched", parents(pair))
            said = self._merge(base, instruct, folder, "--output-name", f"{name}-{{lambda}}", "--json")
            send_seconds = self._client("send", folder / "out", names)
            shards = [_shards(folder / "out" / output) for output in names]
            return Steps(fetch_seconds, json.loads(said)["seconds"], send_seconds, shards)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def plan_only(self, pair: str) -> Planning:
        """Plan as the service does, and nothing else."""
        folder = self._new_folder("plan")
        self._registry.clear()
        started = time.monotonic()
        self._merge(*self._uris(pair), folder, "--dry-run")
        seconds = time.monotonic() - started
        shutil.rmtree(folder)
        counts = self._registry.counts()
        return Planning(counts.requests, sum(counts.read.values()), seconds)

    def _uris(self, pair: str) -> tuple[str, str]:
        base, instruct = (self._registry.uri(parent) for parent in parents(pair))
        return base, instruct

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _merge(self, base: str | Path, instruct: str | Path, folder: Path, *options: str) -> str:
        lambdas = ",".join(map(str, self._lambdas))
        command = [CLI, "merge", base, instruct, "--lambda", lambdas, "--out", folder / "out", *options]
        return self._run(command, folder)

    def _client(self, what: str, folder: Path, names: Sequence[str]) -> float:
        registry = self._registry
        place = registry.inputs if what == "fetch" else registry.outputs
        command = [sys.executable, "-m", "tests.bench.registry_client", registry.kind, place, what, folder, *names]
        return float(self._run(command, folder.parent))

    def _run(self, command: Sequence[str | Path], folder: Path) -> str:
        env = {**client_environment(folder), **self._registry.env}
        ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise RuntimeError(f"{command[:4]} ended with {ended.returncode}: {ended.stderr[-_LAST_WORDS:]}")
        return ended.stdout


def _shards(output: Path) -> dict[str, str]:
    """Return the digests that the merge wrote down."""
    outputs = json.loads((output / "lineage.json").read_text())["outputs"]
    return {file: about["sha256"] for file, about in outputs.items() if file.endswith(".safetensors")}
