"""Reused memory of the pass: page-aligned host buffers, and the slot that holds one chunk of every parent."""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.plan import MERGEABLE, ROLES, Action, ByteRange, PlanRow, ShardPlan
from crossfade_core.spec import Role
from crossfade_engine.chunks import Chunk, Segment
from crossfade_engine.terms import Terms

_ALIGNMENT = 64
"""Each run of bytes starts at a cache line: old files may start their data at odd offsets, vector loads want better."""


class HostBuffer:
    """Page-aligned memory, as a memoryview for reads, writes and hashing and as tensors for arithmetic."""

    def __init__(self, size_bytes: int) -> None:
        self.bytes = memoryview(mmap.mmap(-1, max(size_bytes, mmap.PAGESIZE)))
        self.tensor = torch.frombuffer(self.bytes, dtype=torch.uint8)

    def view(self, offset: int, size_bytes: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
        """Return `size_bytes` from `offset` on as a 1-d tensor of `dtype`; shares the memory."""
        return self.tensor[offset : offset + size_bytes].view(dtype)


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes read in one go: `size_bytes` from `start` of `file`, to `offset` in the slot's buffer."""

    file: str
    start: int
    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment, ready. Tensors are 1-d views of the slot's memory.

    Attributes:
        segment: Which one.
        base: The base's numbers in their own dtype, or bytes (uint8) of what is no number; None where it is not read.
        instruct: The same of the instruct.
        operands: What to compute with, where it is to be computed; None when the piece is copied.
        is_finite: Whether all numbers in both parents are finite in float32, so that no result is NaN.
        largest: No result is larger than this, before rounding, for λ in 0..1: the largest magnitudes of both, added.
        kept: Elements that are equal in both and that computing would change; None for none. Of what is formed only.
        base_f32: The base as float32, where statistics run over it.
        delta_f32: instruct − base in float32, the same.
        noise: Random bits of stochastic rounding, uint16; None for rounding to nearest.
    """

    segment: Segment
    base: torch.Tensor | None
    instruct: torch.Tensor | None
    operands: tuple[torch.Tensor, torch.Tensor] | None = None
    is_finite: bool = True
    largest: float = 0.0
    kept: torch.Tensor | None = None
    base_f32: torch.Tensor | None = None
    delta_f32: torch.Tensor | None = None
    noise: torch.Tensor | None = None


NO_CHUNK: Final = Chunk(-1, 0, b"", ())


@dataclass(frozen=True, slots=True)
class Rooms:
    """How many bytes of each buffer, at most, one byte of output needs: `parent` for each parent's own bytes."""

    parent: float
    base_f32: float
    instruct_f32: float
    delta_f32: float
    noise: float

    def per_byte(self, parents: int) -> float:
        """Return the bytes that a slot needs for one byte of output."""
        return self.parent * parents + self.base_f32 + self.instruct_f32 + self.delta_f32 + self.noise


@dataclass
class Slot:
    """One chunk of every parent. `runs` are the bytes of each parent as read, in file order within the chunk."""

    parents: Mapping[Role, HostBuffer]
    base_f32: HostBuffer
    instruct_f32: HostBuffer
    delta_f32: HostBuffer
    noise: HostBuffer
    chunk: Chunk = NO_CHUNK
    pieces: list[Piece] = field(default_factory=list)
    runs: Mapping[Role, list[Run]] = field(default_factory=dict)
    readers_left: int = 0

    @property
    def buffers(self) -> list[HostBuffer]:
        """All of its memory."""
        return [*self.parents.values(), self.base_f32, self.instruct_f32, self.delta_f32, self.noise]

    @classmethod
    def of(cls, rooms: Rooms, roles: Sequence[Role], chunk_bytes: int, padding_bytes: int) -> "Slot":
        """Make a slot; a run may begin up to a cache line late, hence the padding."""
        raw_bytes = int(chunk_bytes * rooms.parent) + padding_bytes
        return cls(
            {role: HostBuffer(raw_bytes) for role in roles},
            base_f32=HostBuffer(int(chunk_bytes * rooms.base_f32)),
            instruct_f32=HostBuffer(int(chunk_bytes * rooms.instruct_f32)),
            delta_f32=HostBuffer(int(chunk_bytes * rooms.delta_f32)),
            noise=HostBuffer(int(chunk_bytes * rooms.noise)),
        )


def roles_of(shard: ShardPlan) -> tuple[Role, ...]:
    """Return the parents that a shard's rows name."""
    return tuple(role for role in ROLES if any(row.side(role) is not None for row in shard.rows))


def is_formed(row: PlanRow) -> bool:
    """Whether a parent's numbers are made from more than its own bytes: scaled codes, an adapter, a chain."""
    return is_stepped(row) or any(side and side.scales for side in (row.base, row.instruct))


def is_stepped(row: PlanRow) -> bool:
    """Whether the instruct's numbers are the base's and a step: of an adapter, or of a chain."""
    return row.delta is not None or row.reference is not None


def is_rounded_by_chance(row: PlanRow, terms: Terms) -> bool:
    """Whether results are rounded stochastically: float32, in which all is computed, has nothing to round to F32."""
    return row.action is Action.INTERPOLATE and terms.rounding == "stochastic" and row.out_dtype in ("BF16", "F16")


def needs_f32(row: PlanRow, terms: Terms) -> bool:
    """Whether a row's numbers are brought to float32 explicitly: torch.lerp takes one dtype, and rounds to it."""
    if is_formed(row):
        return True
    if row.action is not Action.INTERPOLATE:
        return False
    dtypes = {side.dtype for side in (row.base, row.instruct) if side} | {row.out_dtype}
    return len(dtypes) > 1 or row.out_dtype == "F64" or is_rounded_by_chance(row, terms)


def rooms_of(shard: ShardPlan, terms: Terms) -> Rooms:
    """Return what the rows of a shard need at most."""
    rows, computed = shard.rows, [row for row in shard.rows if row.action is Action.INTERPOLATE]
    f32 = _ratio(row for row in rows if needs_f32(row, terms))
    measured = _ratio(computed)
    return Rooms(
        parent=max((_bits(row) / DTYPE_BITS[row.out_dtype] for row in rows), default=1.0),
        base_f32=max(f32, measured),
        instruct_f32=f32,
        delta_f32=measured,
        noise=_ratio(row for row in computed if is_rounded_by_chance(row, terms)) / 2,
    )


def padding_bytes(shard: ShardPlan) -> int:
    """Return how many bytes, at most, alignment adds to a chunk of one parent; what is never touched costs nothing."""
    return (2 * len(shard.rows) + 1) * _ALIGNMENT


def lay_out_runs(segments: Sequence[Segment], role: Role) -> tuple[list[Run], list[int]]:
    """Join neighbouring pieces of one parent into runs.

    Args:
        segments: The chunk's segments.
        role: Which parent.

    Returns:
        The runs, and for each segment the offset of its bytes in the slot's buffer (0 where it reads none).
    """
    runs: list[Run] = []
    offsets = []
    room = 0
    for segment in segments:
        side = segment.side(role)
        if side is None:
            offsets.append(0)
            continue
        start, end = segment.source_range(side)
        last = runs[-1] if runs else None
        itemsize = DTYPE_BITS[side.dtype] // 8
        if last and last.file == side.file and last.start + last.size_bytes == start and room % itemsize == 0:
            runs[-1] = Run(last.file, last.start, last.size_bytes + end - start, last.offset)
        else:
            room += -room % _ALIGNMENT
            runs.append(Run(side.file, start, end - start, room))
        offsets.append(room)
        room += end - start
    return runs, offsets


def is_number(side: ByteRange) -> bool:
    """Whether a tensor's values are floating-point numbers."""
    return side.value_dtype in MERGEABLE


def _ratio(rows: Iterable[PlanRow]) -> float:
    """Bytes of float32 room for one byte of output, at most."""
    return max((32 / DTYPE_BITS[row.out_dtype] for row in rows), default=0.0)


def _bits(row: PlanRow) -> int:
    """Bits of the widest stored element among a row's parents."""
    sides = (row.base, row.instruct, row.reference)
    return max((DTYPE_BITS[side.dtype] for side in sides if side is not None), default=0)
