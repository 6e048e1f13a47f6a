"""The streaming pass over one output shard: every input byte read once, every λ computed, hashed and written.

Memory held: `RING` slots and one chunk a thread, within `BUDGET_BYTES` + 3 MiB a thread whatever the dtypes and sizes.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossfade_core.plan import ShardPlan
from crossfade_core.ports import FileInfo, FileWriter, Source
from crossfade_core.spec import Role
from crossfade_engine.chunks import count_chunks, expected_reads
from crossfade_engine.crew import Crew, OnTick
from crossfade_engine.device import Device, open_device
from crossfade_engine.input_digests import InputDigests
from crossfade_engine.loader import SlotLoader
from crossfade_engine.slot import Slot, padding_bytes, roles_of, rooms_of
from crossfade_engine.streams import OutputStream, Scratch
from crossfade_engine.tally import as_record
from crossfade_engine.terms import Terms

RING: Final = 4
BUDGET_BYTES: Final = 24 << 20
MAX_CHUNK_BYTES: Final = 1 << 20
"""Half a million bf16 elements: large enough to make each call cheap, small enough to stay in cache. As fast as 2 MiB
here, in half the memory; 4 MiB is slower (docs/performance.md)."""
THREADS_PER_CORE: Final = 2
"""A thread that writes past the page cache waits for the disk; another one hashes meanwhile (docs/performance.md)."""


@dataclass(frozen=True)
class Parents:
    """Every parent by role: open, and the files that were planned.

    `digests` are those of the inputs where one process streams several shards in order; None for one shard by itself.
    """

    sources: Mapping[Role, Source]
    files: Mapping[Role, Mapping[str, FileInfo]]
    digests: InputDigests | None = None

    def close(self) -> None:
        """Close every source: reads under way end with an error soon."""
        for source in self.sources.values():
            source.close()


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
class MergedShard:
    """What one pass found out.

    Attributes:
        outputs: Hex SHA-256 of what was written, in the order of the λ.
        inputs: Hex SHA-256 of the inputs whose digest it completed, by role and file.
        statistics: Sums that tell what the merge did, as JSON (`crossfade_engine.tally`).
    """

    outputs: tuple[str, ...]
    inputs: Mapping[Role, Mapping[str, str]]
    statistics: Mapping[str, Any]


def merge_shard(
    shard: ShardPlan,
    parents: Parents,
    outputs: Sequence[tuple[float, FileWriter]],
    terms: Terms,
    *,
    resources: Resources,
    on_tick: OnTick,
) -> MergedShard:
    """Stream one output shard, all λ.

    Args:
        shard: Its plan.
        parents: Where to read from.
        outputs: Each λ with the writer of its file. None is finished before all are complete; after an error those not
            finished are abandoned.
        terms: What the job asks of the arithmetic.
        resources: What to compute with.
        on_tick: Told of progress; may raise to stop.

    Returns:
        The digests, and the sums of what was done.

    Raises:
        SourceError: A parent could not be read in full, or is not what its registry says it holds.
        SinkError: An output could not be written.
        MergeRefused: The numbers are not what the job's policies allow.
        BaseException: Whatever `on_tick` raises.
    """
    with contextlib.ExitStack() as opened:
        streams = []
        for lam, writer in outputs:
            streams.append(OutputStream(lam, writer, resources.device, terms))
            opened.callback(streams[-1].abandon)
        for role, spans in expected_reads(shard).items():
            if role in parents.sources:
                parents.sources[role].expect(spans)
        roles, rooms = roles_of(shard), rooms_of(shard, terms)
        chunk_bytes = resources.chunk_bytes or _chunk_bytes(rooms.per_byte(len(roles)))
        owing = parents.digests or InputDigests([shard], parents.sources, parents.files)
        digests = owing.streams(shard, count_chunks(shard, chunk_bytes))
        slots = [Slot.of(rooms, roles, chunk_bytes, padding_bytes(shard)) for _ in range(RING)]
        loader = SlotLoader(parents.sources, resources.device, terms)
        crew = Crew(shard, chunk_bytes, loader, slots, [*streams, *digests.values()])
        f32_bytes = int(chunk_bytes * rooms.base_f32)
        useful = min(resources.threads, len(streams) + len(digests) + 1)  # one to each stream, one that loads
        scratches = [Scratch(chunk_bytes, f32_bytes) for _ in range(useful)]
        memory = [buffer.tensor for slot in slots for buffer in slot.buffers]
        memory += [buffer.tensor for scratch in scratches for buffer in scratch.buffers]
        with resources.device.pinned(memory):
            crew.run(scratches, on_tick, parents.close)
    return MergedShard(
        tuple(stream.sha256 for stream in streams),
        owing.known(shard, digests),
        as_record(shard, loader.tally, [stream.tally for stream in streams]),
    )


def _chunk_bytes(per_byte: float) -> int:
    """Return the largest power of two whose ring fits the budget: raw bytes and float32 rooms, of all parents."""
    chunk_bytes = MAX_CHUNK_BYTES
    while chunk_bytes * RING * per_byte > BUDGET_BYTES:
        chunk_bytes //= 2
    return chunk_bytes
