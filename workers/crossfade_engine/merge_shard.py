"""The streaming pass over one output shard: every input byte read once, every λ computed, hashed and written.

Memory held: `RING` slots and one chunk a thread, within `BUDGET_BYTES` + 3 MiB a thread whatever the dtypes and sizes.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from crossfade_core.plan import ShardPlan
from crossfade_core.ports import FileInfo, FileWriter, Source
from crossfade_engine.chunks import count_chunks
from crossfade_engine.crew import Crew, OnTick
from crossfade_engine.device import Device, open_device
from crossfade_engine.loader import SlotLoader
from crossfade_engine.slot import HostBuffer, Slot, f32_ratio, padding_bytes, source_ratio
from crossfade_engine.streams import OutputStream, PassDigest, RereadDigest, Scratch, sequential_start

RING: Final = 4
BUDGET_BYTES: Final = 24 << 20
MAX_CHUNK_BYTES: Final = 1 << 20
"""Half a million bf16 elements: large enough to make each call cheap, small enough to stay in cache. As fast as 2 MiB
here, in half the memory; 4 MiB is slower (docs/performance.md)."""
THREADS_PER_CORE: Final = 2
"""A thread that writes past the page cache waits for the disk; another one hashes meanwhile (docs/performance.md)."""


@dataclass(frozen=True)
class Parents:
    """Both parents, open, and the files that were planned."""

    base: Source
    instruct: Source
    base_files: Mapping[str, FileInfo]
    instruct_files: Mapping[str, FileInfo]


@dataclass(frozen=True)
class Resources:
    """What a pass may use.

    Attributes:
        device: Where the arithmetic runs.
        threads: How many threads stream, at least 1.
        chunk_bytes: Output bytes made at a time, a multiple of 4096; None for as much as the budget allows.
    """

    device: Device
    threads: int
    chunk_bytes: int | None = None


def open_resources(device: str = "auto", threads: int = 0) -> Resources:
    """Return what this process may use: the device by name, and `threads`, by default two for each core it may run on.

    Raises:
        ProgramMissing: `cuda` was asked for and torch sees none.
    """
    return Resources(open_device(device), threads or THREADS_PER_CORE * len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class ShardDigests:
    """Hex SHA-256 of what one pass wrote (in the order of the λ) and of the inputs it owed a digest of."""

    outputs: tuple[str, ...]
    base: dict[str, str] = field(default_factory=dict)
    instruct: dict[str, str] = field(default_factory=dict)


def merge_shard(
    shard: ShardPlan,
    parents: Parents,
    outputs: Sequence[tuple[float, FileWriter]],
    resources: Resources,
    on_tick: OnTick,
) -> ShardDigests:
    """Stream one output shard, all λ.

    Args:
        shard: Its plan.
        parents: Where to read from.
        outputs: Each λ with the writer of its file. None is finished before all are complete; after an error those not
            finished are abandoned.
        resources: What to compute with.
        on_tick: Told of progress; may raise to stop.

    Returns:
        Digests of the files written and of the input files this shard owes.

    Raises:
        SourceError: A parent could not be read in full.
        TensorsDiffer: A tensor that must be equal is not.
        SinkError: A file could not be written.
        Exception: Whatever `on_tick` raised.
    """
    streams = [OutputStream(lam, writer, resources.device) for lam, writer in outputs]
    with contextlib.ExitStack() as unfinished:
        for stream in streams:
            unfinished.callback(stream.abandon)  # which does nothing to a finished one
        chunk_bytes = resources.chunk_bytes or _chunk_bytes(shard)
        digests = _parent_digests(shard, parents, chunk_bytes)
        slots = [_new_slot(shard, chunk_bytes) for _ in range(RING)]
        loader = SlotLoader(parents.base, parents.instruct, resources.device)
        crew = Crew(shard, chunk_bytes, loader, slots, [*streams, *digests.values()])
        f32_bytes = int(chunk_bytes * f32_ratio(shard))
        useful = min(resources.threads, len(streams) + len(digests) + 1)  # one to each stream, one that loads
        crew.run([Scratch(chunk_bytes, f32_bytes) for _ in range(useful)], on_tick)
    return ShardDigests(
        tuple(stream.sha256 for stream in streams),
        {file: digests[0, file].sha256 for file in shard.base_hash_files},
        {file: digests[1, file].sha256 for file in shard.instruct_hash_files},
    )


def _parent_digests(
    shard: ShardPlan, parents: Parents, chunk_bytes: int
) -> dict[tuple[int, str], PassDigest | RereadDigest]:
    """Begin the digests the shard owes, by (side, file): on the way where the pass reads front to back, else apart."""
    digests: dict[tuple[int, str], PassDigest | RereadDigest] = {}
    sides = (
        (0, parents.base, shard.base_hash_files, parents.base_files),
        (1, parents.instruct, shard.instruct_hash_files, parents.instruct_files),
    )
    for side, source, owed, files in sides:
        for file in owed:
            size_bytes = files[file].size_bytes
            start = sequential_start(shard, side, file, size_bytes)
            digests[side, file] = (
                RereadDigest(source, file, size_bytes, count_chunks(shard, chunk_bytes))
                if start is None
                else PassDigest(source, file, start, side)
            )
    return digests


def _chunk_bytes(shard: ShardPlan) -> int:
    """Return the largest power of two whose ring fits the budget: raw bytes and float32 room, of both parents."""
    per_byte = 2 * RING * (source_ratio(shard) + f32_ratio(shard))
    chunk_bytes = MAX_CHUNK_BYTES
    while chunk_bytes * per_byte > BUDGET_BYTES:
        chunk_bytes //= 2
    return chunk_bytes


def _new_slot(shard: ShardPlan, chunk_bytes: int) -> Slot:
    """Make a slot; a run may begin up to a cache line late, hence the padding."""
    raw_bytes = int(chunk_bytes * source_ratio(shard)) + padding_bytes(shard)
    f32_bytes = int(chunk_bytes * f32_ratio(shard))
    return Slot(HostBuffer(raw_bytes), HostBuffer(raw_bytes), HostBuffer(f32_bytes), HostBuffer(f32_bytes))
