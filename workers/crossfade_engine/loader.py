"""Fill slots: read both parents' bytes of a chunk once, and decide for each piece whether it is computed or copied.

Identical tensors are copied, never computed (docs/numerics.md): lerp(x, x) is not x for −0.0, ±inf, NaN. Equality is a
fact of the whole tensor, so that chunk borders cannot change a byte. It is decided lazily: while all pieces so far were
equal and hold none of those values, copying and computing give the same bytes and the question can wait. Only an equal
piece with such a value before any difference makes the loader read on ahead; so does F64, which computing would round.
"""

import numpy as np
import torch

from crossfade_core.errors import TensorsDiffer
from crossfade_core.plan import Action, ByteRange, PlanRow
from crossfade_core.ports import Source
from crossfade_engine.chunks import Chunk, Segment
from crossfade_engine.device import Device
from crossfade_engine.dtypes import TORCH_DTYPE
from crossfade_engine.slot import HostBuffer, Piece, Slot, both_sides, lay_out_runs, needs_f32

_AHEAD_BYTES = 1 << 18


class SlotLoader:
    """Loads the chunks of one shard in order; one thread at a time.

    Args:
        base: The pretrained parent.
        instruct: The tuned parent.
        device: Where operands go.
    """

    def __init__(self, base: Source, instruct: Source, device: Device) -> None:
        self._base, self._instruct, self._device = base, instruct, device
        self._row: PlanRow | None = None
        self._verdict: bool | None = None

    def load(self, slot: Slot, chunk: Chunk) -> None:
        """Fill `slot` with `chunk`.

        Raises:
            SourceError: A parent cannot be read in full.
            TensorsDiffer: A tensor that must be equal in both parents is not.
        """
        base_runs, base_at = lay_out_runs(chunk.segments, [segment.row.base for segment in chunk.segments])
        instruct_runs, instruct_at = lay_out_runs(chunk.segments, [segment.row.instruct for segment in chunk.segments])
        for source, buffer, runs in (
            (self._base, slot.base, base_runs),
            (self._instruct, slot.instruct, instruct_runs),
        ):
            for run in runs:
                source.read_into(run.file, run.start, buffer.bytes[run.offset : run.offset + run.size_bytes])
        slot.chunk, slot.runs, slot.pieces = chunk, (base_runs, instruct_runs), []
        room = 0
        for segment, base_offset, instruct_offset in zip(chunk.segments, base_at, instruct_at, strict=True):
            slot.pieces.append(self._piece(slot, segment, (base_offset, instruct_offset), room))
            room += segment.elements * 4 if needs_f32(segment.row) else 0

    def _piece(self, slot: Slot, segment: Segment, offsets: tuple[int, int], room: int) -> Piece:
        base_raw = _raw(slot.base, segment, segment.row.base, offsets[0])
        instruct_raw = _raw(slot.instruct, segment, segment.row.instruct, offsets[1])
        row = segment.row
        if row.action is Action.COPY_EQUAL and not _same_bytes(base_raw, instruct_raw):
            raise TensorsDiffer(
                f"tensor {row.name!r} ({row.out_dtype}) differs between the base's {both_sides(row)[0].file} and the "
                f"instruct's {both_sides(row)[1].file}; integer and bool tensors must be equal in both",
                tensor=row.name,
            )
        if row.action is not Action.INTERPOLATE:
            return Piece(segment, base_raw, instruct_raw)
        base, instruct = both_sides(row)
        is_finite = _is_finite(base_raw, base.dtype) and _is_finite(instruct_raw, instruct.dtype)
        if self._is_equal(segment, base_raw, instruct_raw, is_finite=is_finite):
            return Piece(segment, base_raw, instruct_raw, None, is_finite)
        operands = (
            self._operand(base_raw, base.dtype, slot.base_f32, segment, room),
            self._operand(instruct_raw, instruct.dtype, slot.instruct_f32, segment, room),
        )
        return Piece(segment, base_raw, instruct_raw, operands, is_finite)

    def _operand(self, raw: torch.Tensor, dtype: str, buffer: HostBuffer, segment: Segment, room: int) -> torch.Tensor:
        space = buffer.view(room, segment.elements * 4, torch.float32) if needs_f32(segment.row) else None
        return self._device.operand(raw.view(TORCH_DTYPE[dtype]), space)

    def _is_equal(
        self, segment: Segment, base_raw: torch.Tensor, instruct_raw: torch.Tensor, *, is_finite: bool
    ) -> bool:
        """Whether the piece may be copied: its tensor is equal, or so far equal and the same either way."""
        row = segment.row
        base, instruct = both_sides(row)
        if row is not self._row:
            self._row = row
            self._verdict = None if base.dtype == instruct.dtype else False
        if self._verdict is None:
            if not _same_bytes(base_raw, instruct_raw):
                self._verdict = False
            elif not is_finite or _lerp_changes(base_raw, base.dtype):
                self._verdict = self._rest_is_equal(segment)
        return self._verdict is not False

    def _rest_is_equal(self, segment: Segment) -> bool:
        base, instruct = both_sides(segment.row)
        shift = instruct.start - base.start
        ours, theirs = HostBuffer(_AHEAD_BYTES), HostBuffer(_AHEAD_BYTES)
        for position in range(segment.source_range(base)[1], base.end, _AHEAD_BYTES):
            size = min(_AHEAD_BYTES, base.end - position)
            self._base.read_into(base.file, position, ours.bytes[:size])
            self._instruct.read_into(instruct.file, position + shift, theirs.bytes[:size])
            if not _same_bytes(ours.view(0, size), theirs.view(0, size)):
                return False
        return True


def _raw(buffer: HostBuffer, segment: Segment, side: ByteRange | None, offset: int) -> torch.Tensor:
    """Return a piece's bytes; none for a parent that lacks the tensor."""
    start, end = segment.source_range(side) if side else (0, 0)
    return buffer.view(offset, end - start)


def _same_bytes(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Compare with numpy: seven times as fast as torch.equal, which goes byte by byte."""
    return np.array_equal(ours.numpy(), theirs.numpy())


def _is_finite(raw: torch.Tensor, dtype: str) -> bool:
    """Whether every number is finite once it is a float32; makes no temporary of the piece's size."""
    lowest, highest = torch.aminmax(raw.view(TORCH_DTYPE[dtype]))  # both NaN where there is any
    return bool(torch.isfinite(lowest.float()) & torch.isfinite(highest.float()))


def _lerp_changes(raw: torch.Tensor, dtype: str) -> bool:
    """Whether lerp(x, x) may differ from x for finite numbers: −0.0 can become +0.0, F64 is rounded."""
    if dtype == "F64":
        return True
    bits = raw.view(torch.int32 if dtype == "F32" else torch.int16)
    return bool(bits.min() == torch.iinfo(bits.dtype).min)  # only the sign bit set: −0.0
