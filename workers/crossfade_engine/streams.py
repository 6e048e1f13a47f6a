"""What is done with every loaded chunk, in order: make and write one λ of it, or hash one parent's file.

Each stream is sequential (SHA-256 is), so a stream is used by one thread at a time; different streams run side by side.
"""

import hashlib
import itertools
import math
from typing import Protocol

import torch

from crossfade_core.checkpoint import LENGTH_BYTES, MAX_HEADER_BYTES
from crossfade_core.plan import Action, ShardPlan
from crossfade_core.ports import FileWriter, Source
from crossfade_core.spec import as_float32
from crossfade_engine.device import Device
from crossfade_engine.dtypes import TORCH_DTYPE
from crossfade_engine.slot import HostBuffer, Piece, Slot, both_sides

_HASH_BYTES = 1 << 20


class Scratch:
    """One thread's own memory: the chunk it makes, and float32 room where dtypes differ."""

    def __init__(self, chunk_bytes: int, f32_bytes: int) -> None:
        self.out = HostBuffer(chunk_bytes)
        self.f32 = HostBuffer(f32_bytes)


class Stream(Protocol):
    """Consumes every chunk of a shard, in order."""

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Use one loaded chunk; return how many output bytes it made."""

    def finish(self) -> None:
        """Called once, after every stream has consumed the last chunk."""


class OutputStream:
    """One λ of one shard: computes, hashes and writes it.

    Args:
        lam: The strength.
        writer: Where the file goes.
        device: Where the arithmetic runs.
    """

    def __init__(self, lam: float, writer: FileWriter, device: Device) -> None:
        self._lam = as_float32(lam)
        self._writer = writer
        self._device = device
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hex digest of all that was written so far."""
        return self._digest.hexdigest()

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Make this λ of the chunk in `scratch.out`, hash it, write it."""
        chunk = slot.chunk
        scratch.out.bytes[: len(chunk.header)] = chunk.header
        for piece in slot.pieces:
            self._fill(piece, scratch)
        made = scratch.out.bytes[: chunk.size_bytes]
        self._digest.update(made)
        self._writer.write(made)
        return len(made)

    def finish(self) -> None:
        """Make the file durable and give it its name."""
        self._writer.finish()

    def abandon(self) -> None:
        """Drop the file."""
        self._writer.abandon()

    def _fill(self, piece: Piece, scratch: Scratch) -> None:
        segment = piece.segment
        room = scratch.out.view(segment.offset, segment.size_bytes)
        if segment.row.action is Action.INTERPOLATE:
            self._interpolate(piece, room, scratch)
        else:
            room.copy_(piece.instruct_raw if segment.row.action is Action.COPY_INSTRUCT else piece.base_raw)

    def _interpolate(self, piece: Piece, room: torch.Tensor, scratch: Scratch) -> None:
        row = piece.segment.row
        out = room.view(TORCH_DTYPE[row.out_dtype])
        if piece.operands is not None and self._lam not in (0.0, 1.0):
            needs_cast = piece.operands[0].dtype != out.dtype
            f32 = scratch.f32.view(0, len(out) * 4, torch.float32) if needs_cast else None
            self._device.lerp(*piece.operands, self._lam, out, f32)
        else:
            base, instruct = both_sides(row)
            raw, side = (piece.instruct_raw, instruct) if self._lam == 1.0 else (piece.base_raw, base)
            if side.dtype == row.out_dtype:
                room.copy_(raw)
                return
            out.copy_(raw.view(TORCH_DTYPE[side.dtype]))
        if not piece.is_finite:
            # One NaN for all: torch's vector code and the scalar code that ends a chunk make NaNs of different bits.
            out.masked_fill_(out.isnan(), math.nan)


class ParentDigest:
    """SHA-256 of one file of a parent, front to back.

    Args:
        source: The parent.
        file: The file.
    """

    def __init__(self, source: Source, file: str) -> None:
        self._source, self._file = source, file
        self._digest = hashlib.sha256()
        self._read_bytes = 0

    @property
    def sha256(self) -> str:
        """Hex digest of all that was hashed so far."""
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Nothing to do: a digest holds no resource."""

    def read_to(self, end: int, buffer: memoryview) -> None:
        """Read and hash on from where the last call ended up to byte `end`, one `buffer` at a time."""
        while self._read_bytes < end:
            part = buffer[: end - self._read_bytes]
            self._source.read_into(self._file, self._read_bytes, part)
            self._digest.update(part)
            self._read_bytes += len(part)


class PassDigest(ParentDigest):
    """The digest of a file that the pass reads front to back, from the bytes it reads anyway.

    Args:
        source: The parent.
        file: The file.
        start: Where the pass begins to read it; what lies before (its header) is read here.
        side: 0 for base, 1 for instruct.
    """

    def __init__(self, source: Source, file: str, start: int, side: int) -> None:
        super().__init__(source, file)
        self._side = side
        self.read_to(start, memoryview(bytearray(min(start, _HASH_BYTES))))

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Hash the file's bytes of the chunk."""
        buffer = (slot.base, slot.instruct)[self._side]
        for run in slot.runs[self._side]:
            if run.file == self._file:
                self._digest.update(buffer.bytes[run.offset : run.offset + run.size_bytes])
        return 0


class RereadDigest(ParentDigest):
    """The digest of a file that the pass does not read front to back: read once more, a share with every chunk.

    Args:
        source: The parent.
        file: The file.
        size_bytes: Its size.
        chunk_count: How many chunks the pass has.
    """

    def __init__(self, source: Source, file: str, size_bytes: int, chunk_count: int) -> None:
        super().__init__(source, file)
        self._size_bytes, self._chunk_count = size_bytes, chunk_count

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Hash the file's next share."""
        self.read_to(self._size_bytes * (slot.chunk.index + 1) // self._chunk_count, scratch.out.bytes)
        return 0


def sequential_start(shard: ShardPlan, side: int, file: str, size_bytes: int) -> int | None:
    """Return where a pass over `shard` begins to read a parent's file, if it reads it front to back to its end.

    Args:
        shard: The output shard.
        side: 0 for base, 1 for instruct.
        file: The parent's file.
        size_bytes: Its size.

    Returns:
        The first byte read, or None when the pass jumps, leaves more than a header's length to others, or reads no
        tensor of it.
    """
    ranges = [(row.base, row.instruct)[side] for row in shard.rows]
    held = [found for found in ranges if found is not None and found.file == file and found.end > found.start]
    if not held or held[-1].end != size_bytes or held[0].start > LENGTH_BYTES + MAX_HEADER_BYTES:
        return None
    follows = all(after.start == before.end for before, after in itertools.pairwise(held))
    return held[0].start if follows else None
