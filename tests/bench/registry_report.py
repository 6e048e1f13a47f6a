"""The tables of the registries' bench, in Markdown: what was found, against which goal, met or missed.

Times depend on the machine; all else must hold on any, but that small files and headers weigh more in a small pair.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crossfade_registries.s3.parts import PARTS_AT_ONCE
from tests.bench.machine import cores
from tests.bench.registry_contestants import Planning, Steps, Streamed
from tests.bench.report import MEMORY_GOAL_BYTES

WALL_GOAL: Final = 0.6
READ_GOAL: Final = 1.01
WALL: Final = "one pass / fetch, merge, send"

_MIB: Final = 1 << 20
_READ_AHEAD_BYTES: Final = 2 * 5 * 8 * _MIB
"""Of two sources: four blocks on their way and one being read."""
_PART_BYTES: Final = 8 * _MIB
_SMALL_FILES_BYTES: Final = 1 << 16
"""Sockets and the like that libraries put there, and what of a file's last block it does not fill."""
_CLIENTS_BYTES: Final = 32 * _MIB
"""What connections, and the libraries that speak through them, may need on top."""


@dataclass(frozen=True)
class Found:
    """All that was found on one registry at one rate.

    Attributes:
        registry: Its name.
        bytes_per_second: The rate; None for no limit.
        parents: The pair's folders.
        workers: How many merged.
        ours, theirs: Every run.
        half: Ours, of a pair of half the size.
        planning: What planning alone asked for.
        published: SHA-256 of the shards of our outputs that the registry holds, in the order of λ.
    """

    registry: str
    bytes_per_second: float | None
    parents: Sequence[Path]
    workers: int
    ours: Sequence[Streamed]
    theirs: Sequence[Steps]
    half: Streamed
    planning: Planning
    published: Sequence[Mapping[str, str]]

    @property
    def input_bytes(self) -> int:
        """Of all files of both parents."""
        return sum(file.stat().st_size for parent in self.parents for file in parent.iterdir())

    @property
    def output_bytes(self) -> int:
        """Of all files of all outputs."""
        return self.ours[-1].job.output_bytes

    @property
    def memory_bound_bytes(self) -> int:
        """What a merge worker may hold beyond itself: chunks, blocks read ahead, and on S3 parts on their way."""
        parts = (len(self.published) + PARTS_AT_ONCE) * _PART_BYTES if self.registry == "S3" else 0
        return MEMORY_GOAL_BYTES + _READ_AHEAD_BYTES + parts + _CLIENTS_BYTES

    @property
    def scratch_bound_bytes(self) -> int:
        """Units at once × λ × the largest shard on a Hub; no shard on S3."""
        if self.registry == "S3":
            return _SMALL_FILES_BYTES
        largest = max(file.stat().st_size for file in self.parents[0].glob("*.safetensors"))
        return self.workers * len(self.published) * largest + _SMALL_FILES_BYTES


@dataclass(frozen=True)
class _Row:
    what: str
    found: str
    goal: str = ""
    is_met: bool | None = None

    def __str__(self) -> str:
        verdict = {None: "", True: "met", False: "MISSED"}[self.is_met]
        return f"| {self.what} | {self.found} | {self.goal} | {verdict} |"


def report(found: Found) -> str:
    """Return the table."""
    rate = "no limit" if found.bytes_per_second is None else f"{found.bytes_per_second / 1e6:.0f} MB/s each way"
    title = (
        f"{found.registry}, {rate}: {found.input_bytes / 1e9:.2f} GB in, {found.output_bytes / 1e9:.2f} GB out, "
        f"{len(found.published)} λ, {found.workers} merge workers"
    )
    rows = [*_times(found), *_bounds(found)]
    return "\n".join([title, "", "| | found | goal | |", "|---|---|---|---|", *map(str, rows)])


def _times(found: Found) -> Iterator[_Row]:
    job = found.ours[-1].job
    ours = statistics.median(run.job.seconds for run in found.ours)
    theirs = statistics.median(run.seconds for run in found.theirs)
    steps = found.theirs[-1]
    phases = ", ".join(f"{phase.lower()} {seconds:.2f}" for phase, seconds in job.phases.items())
    yield _Row("one pass", f"{ours:.2f} s ({phases})")
    yield _Row(
        "fetch, merge, send",
        f"{theirs:.2f} s ({steps.fetch_seconds:.2f} + {steps.merge_seconds:.2f} + {steps.send_seconds:.2f})",
    )
    yield _Row(WALL, f"{ours / theirs:.2f}", f"≤ {WALL_GOAL}", ours / theirs <= WALL_GOAL)
    if found.bytes_per_second is not None:
        least = max(found.input_bytes, found.output_bytes) / found.bytes_per_second
        yield _Row("what the rate allows", f"{least:.1f} s: {least / ours:.0%} of one pass")
    service, registry = job.cpu_seconds, found.ours[-1].registry_cpu_seconds
    share = (service + registry) / job.seconds / cores()
    yield _Row("CPU of the service, of the registry", f"{service:.1f} s, {registry:.1f} s: {share:.0%} of all cores")
    planning = found.planning
    yield _Row("planning alone", f"{planning.requests} requests, {planning.read_bytes / 1e3:.0f} kB")


def _bounds(found: Found) -> Iterator[_Row]:
    yield from _memory(found)
    most, bound = max(run.job.scratch_bytes for run in found.ours), found.scratch_bound_bytes
    yield _Row("scratch at most, MB", f"{most / 1e6:.1f}", f"≤ {bound / 1e6:.1f}", most <= bound)
    read = max(run.counts.input_bytes for run in found.ours) / found.input_bytes
    yield _Row("input bytes served / size of the inputs", f"{read:.4f}", f"≤ {READ_GOAL}", read <= READ_GOAL)
    sent = max(run.counts.written_bytes for run in found.ours) / found.output_bytes
    yield _Row("bytes received / size of the outputs", f"{sent:.4f}", f"≤ {READ_GOAL}", sent <= READ_GOAL)
    shards = [list(run.job.shards) for run in found.ours] + [list(run.shards) for run in found.theirs]
    is_same = all(each == list(found.published) for each in shards)
    count = sum(map(len, found.published))
    yield _Row(
        f"SHA-256 of {count} shards, both ways and as they lie there",
        "equal" if is_same else "DIFFERENT",
        "equal",
        is_same,
    )


def _memory(found: Found) -> Iterator[_Row]:
    full, half = (max(run.job.above_idle_bytes for run in runs) for runs in (found.ours, [found.half]))
    bound = found.memory_bound_bytes
    peak = max(run.job.peak_bytes for run in found.ours)
    listed = f"{full / 1e6:.0f}; of half the model {half / 1e6:.0f}; with interpreter and libraries {peak / 1e6:.0f}"
    is_met = max(full, half) <= bound
    yield _Row("memory of a merge worker above idle, MB", listed, f"≤ {bound / 1e6:.0f}", is_met)
