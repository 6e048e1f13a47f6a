"""Reused memory of the pass: page-aligned host buffers, and the slot that holds one chunk of both parents."""

import mmap
from dataclasses import dataclass, field
from typing import Final

import torch

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.plan import Action, ByteRange, PlanRow, ShardPlan
from crossfade_engine.chunks import Chunk, Segment

_ALIGNMENT = 64
"""Each run of bytes starts at a cache line: old files may start their data at odd offsets, vector loads want better."""


class HostBuffer:
    """Page-aligned memory, as a memoryview for reads, writes and hashing and as tensors for arithmetic."""

    def __init__(self, size_bytes: int) -> None:
        self.bytes = memoryview(mmap.mmap(-1, max(size_bytes, mmap.PAGESIZE)))
        self._tensor = torch.frombuffer(self.bytes, dtype=torch.uint8)

    def view(self, offset: int, size_bytes: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
        """Return `size_bytes` from `offset` on as a 1-d tensor of `dtype`; shares the memory."""
        return self._tensor[offset : offset + size_bytes].view(dtype)


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes read in one go: `size_bytes` from `start` of `file`, to `offset` in the slot's buffer."""

    file: str
    start: int
    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment, ready.

    Attributes:
        segment: Which one.
        base_raw: The base's bytes of it.
        instruct_raw: The instruct's.
        operands: What to compute with, where it is to be computed.
        is_finite: Whether all numbers in both parents are finite in float32, so that no result is NaN.
    """

    segment: Segment
    base_raw: torch.Tensor
    instruct_raw: torch.Tensor
    operands: tuple[torch.Tensor, torch.Tensor] | None = None
    is_finite: bool = True


NO_CHUNK: Final = Chunk(-1, 0, b"", ())


@dataclass
class Slot:
    """One chunk of both parents. `runs` are (base, instruct) bytes as read, in file order within the chunk."""

    base: HostBuffer
    instruct: HostBuffer
    base_f32: HostBuffer
    instruct_f32: HostBuffer
    chunk: Chunk = NO_CHUNK
    pieces: list[Piece] = field(default_factory=list)
    runs: tuple[list[Run], list[Run]] = ([], [])
    readers_left: int = 0


def both_sides(row: PlanRow) -> tuple[ByteRange, ByteRange]:
    """Return a row's ranges in base and instruct.

    Raises:
        ValueError: A side is missing; the plan gives such a row no action that needs both.
    """
    if row.base is None or row.instruct is None:
        raise ValueError(f"tensor {row.name!r} is planned as {row.action} but one parent lacks it")
    return row.base, row.instruct


def needs_f32(row: PlanRow) -> bool:
    """Whether a row is computed in float32 explicitly: torch.lerp takes one dtype, and rounds to it."""
    if row.action is not Action.INTERPOLATE:
        return False
    base, instruct = both_sides(row)
    return not base.dtype == instruct.dtype == row.out_dtype or row.out_dtype == "F64"


def source_ratio(shard: ShardPlan) -> float:
    """Return how many bytes of one parent, at most, stand behind one byte of output."""
    ratios = (
        DTYPE_BITS[side.dtype] / DTYPE_BITS[row.out_dtype]
        for row in shard.rows
        for side in (row.base, row.instruct)
        if side is not None
    )
    return max(ratios, default=1.0)


def f32_ratio(shard: ShardPlan) -> float:
    """Return how many bytes of float32 room, at most, one byte of output needs for one parent."""
    return max((32 / DTYPE_BITS[row.out_dtype] for row in shard.rows if needs_f32(row)), default=0.0)


def padding_bytes(shard: ShardPlan) -> int:
    """Return how many bytes, at most, alignment adds to a chunk of one parent; what is never touched costs nothing."""
    return (len(shard.rows) + 1) * _ALIGNMENT


def lay_out_runs(segments: tuple[Segment, ...], sides: list[ByteRange | None]) -> tuple[list[Run], list[int]]:
    """Join neighbouring pieces of one parent into runs.

    Args:
        segments: The chunk's segments.
        sides: The parent's range of each segment's tensor, None where the parent has no such tensor.

    Returns:
        The runs, and for each segment the offset of its bytes in the slot's buffer (0 where it has none).
    """
    runs: list[Run] = []
    offsets = []
    room = 0
    for segment, side in zip(segments, sides, strict=True):
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
