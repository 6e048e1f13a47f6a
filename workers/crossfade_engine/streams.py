"""What is done with every loaded chunk, in order; above all: make one λ of it, hash it, write it.

Each stream is sequential (SHA-256 is), so a stream is used by one thread at a time; different streams run side by side.
"""

import hashlib
import math
from typing import Protocol

import torch

from crossfade_core.errors import OutputOverflow
from crossfade_core.plan import Action
from crossfade_core.ports import FileWriter
from crossfade_core.strength import as_float32
from crossfade_engine.device import Device
from crossfade_engine.dtypes import LARGEST, TORCH_DTYPE
from crossfade_engine.slot import HostBuffer, Piece, Slot, is_stepped
from crossfade_engine.stochastic import round_by_chance
from crossfade_engine.tally import BLOCK_ELEMENTS, OutputTally
from crossfade_engine.terms import Terms


class Scratch:
    """One thread's own memory: the chunk it makes, float32 room where dtypes differ, one block for sums."""

    def __init__(self, chunk_bytes: int, f32_bytes: int) -> None:
        self.out = HostBuffer(chunk_bytes)
        self.f32 = HostBuffer(f32_bytes)
        self.buffers = [self.out, self.f32]
        self.block_f32 = HostBuffer(BLOCK_ELEMENTS * 4).view(0, BLOCK_ELEMENTS * 4, torch.float32)


class Stream(Protocol):
    """Consumes every chunk of a shard, in order."""

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Use one loaded chunk; return how many output bytes it made."""

    def finish(self) -> None:
        """Called once, after every stream has consumed the last chunk."""


class OutputStream:
    """One λ of one shard: computes, hashes and writes it. `tally` holds the sums over what it made.

    Args:
        lam: The strength.
        writer: Where the file goes.
        device: Where the arithmetic runs.
        terms: What the job asks of the arithmetic.
    """

    def __init__(self, lam: float, writer: FileWriter, device: Device, terms: Terms) -> None:
        self._lam = lam
        self._writer = writer
        self._device = device
        self._terms = terms
        self._digest = hashlib.sha256()
        self.tally = OutputTally(terms.statistics)

    @property
    def sha256(self) -> str:
        """Hex digest of all that was written so far."""
        return self._digest.hexdigest()

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Make this λ of the chunk in `scratch.out`, hash it, write it.

        Raises:
            OutputOverflow: A result is too large for the output's dtype, and the job does not keep such.
            SinkError: The destination refused.
        """
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
        self._writer.finish(self.sha256)

    def abandon(self) -> None:
        """Drop the file."""
        self._writer.abandon()

    def _fill(self, piece: Piece, scratch: Scratch) -> None:
        segment = piece.segment
        room = scratch.out.view(segment.offset, segment.size_bytes)
        values = piece.instruct if segment.action is Action.COPY_INSTRUCT else piece.base
        if segment.action is not Action.INTERPOLATE:
            self._copy(piece, values, room)
            return
        lam = as_float32(self._lam * segment.row.factor)
        out = room.view(TORCH_DTYPE[segment.row.out_dtype])
        if piece.operands is None or lam in (0.0, 1.0):
            self._copy(piece, piece.instruct if lam == 1.0 else values, room)
        else:
            self._interpolate(piece, piece.operands, lam, out, scratch)
        if lam not in (0.0, 1.0) or (lam == 1.0 and is_stepped(segment.row)):
            _keep(piece, out)
        self.tally.add(piece, out, scratch.block_f32)

    def _interpolate(
        self,
        piece: Piece,
        operands: tuple[torch.Tensor, torch.Tensor],
        lam: float,
        out: torch.Tensor,
        scratch: Scratch,
    ) -> None:
        if operands[0].dtype == out.dtype:
            self._device.lerp(*operands, lam, out)
        else:
            f32 = scratch.f32.view(0, len(out) * 4, torch.float32)
            self._device.lerp(*operands, lam, f32)
            if piece.noise is None:
                out.copy_(f32)
            else:
                round_by_chance(f32, piece.noise, out)
        _unify_nans(piece, out)
        self._watch_overflow(piece, lam, out)

    def _copy(self, piece: Piece, values: torch.Tensor | None, room: torch.Tensor) -> None:
        row = piece.segment.row
        if values is None:
            raise ValueError(f"tensor {row.name!r} is planned as {piece.segment.action} but that parent lacks it")
        if values.dtype in (torch.uint8, TORCH_DTYPE.get(row.out_dtype)):
            room.copy_(values.view(torch.uint8))
            return
        out = room.view(TORCH_DTYPE[row.out_dtype])
        out.copy_(values)
        _unify_nans(piece, out)
        self._watch_overflow(piece, 0.0, out)

    def _watch_overflow(self, piece: Piece, lam: float, out: torch.Tensor) -> None:
        """Count results that are infinite though both parents are finite; refuse them unless the job keeps them."""
        row = piece.segment.row
        reach = 1.0 + 2.0 * max(0.0, lam - 1.0, -lam)  # how far extrapolation can lead beyond the larger parent
        if piece.largest * reach <= LARGEST[row.out_dtype]:
            return
        is_over = out.isinf()
        for parent in (piece.base, piece.instruct):
            if parent is not None:
                is_over &= parent.isfinite()
        count = int(is_over.sum())
        if count and not self._terms.keeps_overflow:
            raise OutputOverflow(
                f"tensor {row.name!r} at λ = {self._lam}: {count} results in one block are too large for "
                f"{row.out_dtype} (at most {LARGEST[row.out_dtype]:g}); choose another out_dtype, or let them become "
                "infinite with the policy overflow: keep",
                tensor=row.name,
                lam=self._lam,
                count=count,
            )
        if piece.segment.action is Action.INTERPOLATE:
            self.tally.of(row).overflowed += count


def _unify_nans(piece: Piece, out: torch.Tensor) -> None:
    """Make one NaN of all: torch's vector code and the scalar code that ends a chunk make NaNs of different bits."""
    if not piece.is_finite:
        out.masked_fill_(out.isnan(), math.nan)


def _keep(piece: Piece, out: torch.Tensor) -> None:
    """Give the elements that computing changes, though they are equal in both parents, the base's own bits."""
    if piece.kept is None or piece.base is None:
        return
    values = piece.base
    if values.dtype is not out.dtype:
        values = values.to(out.dtype)
        _unify_nans(piece, values)
    torch.where(piece.kept, values, out, out=out)
