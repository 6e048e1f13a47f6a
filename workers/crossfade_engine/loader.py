"""Fill slots: read every parent's bytes of a chunk once, and decide for each piece whether it is computed or copied.

Identical tensors are copied, never computed (docs/numerics.md): lerp(x, x) is not x for −0.0, ±inf, NaN. Equality is a
fact of the whole tensor, so that chunk borders cannot change a byte. It is decided lazily: while all pieces so far were
equal and hold none of those values, copying and computing give the same bytes and the question can wait. Only an equal
piece with such a value before any difference makes the loader read on ahead; so does F64, which computing would round.
Of numbers formed from several tensors (scaled codes, adapters, chains) each element that is equal is kept.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch

from crossfade_core.errors import NonFinite, TensorsDiffer
from crossfade_core.plan import Action, ByteRange, PlanRow
from crossfade_core.ports import Source
from crossfade_core.spec import Role
from crossfade_engine.chunks import Chunk, Segment
from crossfade_engine.device import Device
from crossfade_engine.dtypes import TORCH_DTYPE
from crossfade_engine.operands import Operands
from crossfade_engine.slot import (
    HostBuffer,
    Piece,
    Slot,
    is_formed,
    is_number,
    is_rounded_by_chance,
    lay_out_runs,
    needs_f32,
)
from crossfade_engine.stochastic import key_of, noise
from crossfade_engine.tally import ParentTally
from crossfade_engine.terms import Terms

_AHEAD_BYTES = 1 << 18


class SlotLoader:
    """Loads the chunks of one shard in order; one thread at a time. `tally` holds the sums over the parents.

    Args:
        sources: The parents.
        device: Where operands go.
        terms: What the job asks of the arithmetic.
    """

    def __init__(self, sources: Mapping[Role, Source], device: Device, terms: Terms) -> None:
        self._sources, self._device, self._terms = sources, device, terms
        self._operands = Operands(sources)
        self._row: PlanRow | None = None
        self._verdict: bool | None = None
        self._noise_key = 0
        self.tally = ParentTally(terms.statistics)

    def load(self, slot: Slot, chunk: Chunk) -> None:
        """Fill `slot` with `chunk`.

        Raises:
            SourceError: A parent cannot be read in full.
            TensorsDiffer: A tensor that must be equal in both parents is not.
            NonFinite: A number is NaN or infinite, and the job does not keep such.
        """
        runs, offsets = {}, {}
        for role, buffer in slot.parents.items():
            runs[role], offsets[role] = lay_out_runs(chunk.segments, role)
            for run in runs[role]:
                self._sources[role].read_into(run.file, run.start, buffer.bytes[run.offset :][: run.size_bytes])
        slot.chunk, slot.runs, slot.pieces = chunk, runs, []
        room = 0
        for position, segment in enumerate(chunk.segments):
            if segment.row is not self._row:
                self._turn_to(segment.row)
            raws = {role: _raw(slot, segment, role, held[position]) for role, held in offsets.items()}
            slot.pieces.append(self._piece(slot, segment, raws, room))
            room += segment.elements

    def _turn_to(self, row: PlanRow) -> None:
        self._row = row
        is_alike = row.base is not None and row.instruct is not None and row.base.dtype == row.instruct.dtype
        self._verdict = None if is_alike and not is_formed(row) else False
        if is_rounded_by_chance(row, self._terms):
            self._noise_key = key_of(self._terms.seed, row.name)

    def _piece(self, slot: Slot, segment: Segment, raws: Mapping[Role, torch.Tensor | None], room: int) -> Piece:
        if segment.action is Action.INTERPOLATE:
            return self._computed(slot, segment, raws, room)
        if segment.action is Action.COPY_EQUAL:
            _check_equal(segment, raws["base"], raws["instruct"])
        base = self._copied(slot, segment, "base", raws, room)
        instruct = self._copied(slot, segment, "instruct", raws, room)
        largest = self._examine(segment, "base", base) + self._examine(segment, "instruct", instruct)
        return Piece(segment, base, instruct, None, bool(np.isfinite(largest)), largest)

    def _copied(
        self, slot: Slot, segment: Segment, role: Role, raws: Mapping[Role, torch.Tensor | None], room: int
    ) -> torch.Tensor | None:
        """Return the numbers, or bytes, of a parent that are copied."""
        raw, side = raws.get(role), segment.side(role)
        if raw is None or side is None:
            return None
        if side.scales is not None:
            return self._operands.widen(segment, role, raw, _f32(slot.base_f32, segment, room))
        return raw.view(TORCH_DTYPE[side.dtype]) if is_number(side) else raw

    def _computed(self, slot: Slot, segment: Segment, raws: Mapping[Role, torch.Tensor | None], room: int) -> Piece:
        base, instruct = self._numbers(slot, segment, raws, room)
        largest = self._examine(segment, "base", base) + self._examine(segment, "instruct", instruct)
        is_finite = bool(np.isfinite(largest))
        base_f32 = _f32(slot.base_f32, segment, room)
        if self._is_equal(segment, base, instruct, is_finite=is_finite):
            piece = Piece(segment, base, instruct, None, is_finite, largest, base_f32=base_f32)
            self.tally.add(piece, None, is_filled=False)
            return piece
        widened = self._widened(slot, segment, base, instruct, room)
        stored = _own(segment.row, "base", raws, base), _own(segment.row, "instruct", raws, instruct)
        piece = Piece(
            segment,
            *stored,
            (self._device.operand(widened[0]), self._device.operand(widened[1])),
            is_finite,
            largest,
            _kept(base, instruct, stored[0], is_finite=is_finite) if is_formed(segment.row) else None,
            base_f32,
            _f32(slot.delta_f32, segment, room),
            self._noise(slot, segment, room),
        )
        self.tally.add(piece, widened[1], is_filled=widened[0].data_ptr() == base_f32.data_ptr())
        return piece

    def _numbers(
        self, slot: Slot, segment: Segment, raws: Mapping[Role, torch.Tensor | None], room: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both parents' numbers: as they are stored, or formed in the slot's float32 rooms."""
        row, forms = segment.row, self._operands
        base_raw, instruct_raw = raws["base"], raws.get("instruct")
        if not is_formed(row):
            return _typed(base_raw, row.base), _typed(instruct_raw, row.instruct)
        base = forms.widen(segment, "base", _given(base_raw), _f32(slot.base_f32, segment, room))
        space = _f32(slot.instruct_f32, segment, room)
        if row.delta is not None:
            return base, forms.add_delta(segment, base, space)
        instruct = forms.widen(segment, "instruct", _given(instruct_raw), space)
        if row.reference is None:
            return base, instruct
        other = forms.widen(segment, "reference", _given(raws.get("reference")), _f32(slot.delta_f32, segment, room))
        self._examine(segment, "reference", other)
        return base, forms.add_difference(base, instruct, other)

    def _widened(
        self, slot: Slot, segment: Segment, base: torch.Tensor, instruct: torch.Tensor, room: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both parents' numbers in the one dtype that is computed in."""
        if is_formed(segment.row) or not needs_f32(segment.row, self._terms):
            return base, instruct
        space = _f32(slot.base_f32, segment, room), _f32(slot.instruct_f32, segment, room)
        return space[0].copy_(base), space[1].copy_(instruct)

    def _noise(self, slot: Slot, segment: Segment, room: int) -> torch.Tensor | None:
        if not is_rounded_by_chance(segment.row, self._terms):
            return None
        return noise(self._noise_key, segment.first, slot.noise.view(room * 2, segment.elements * 2, torch.uint16))

    def _examine(self, segment: Segment, role: Role, values: torch.Tensor | None) -> float:
        """Return the largest magnitude among numbers, not finite when one is not; count those, or refuse them."""
        if values is None or values.dtype is torch.uint8 or not len(values):
            return 0.0
        lowest, highest = torch.aminmax(values)  # both NaN where there is any; makes no temporary of the piece's size
        largest = float(torch.maximum(highest.float(), -lowest.float()))
        if np.isfinite(largest):
            return largest
        as_f32 = values.float()
        found = [int(as_f32.isnan().sum()), int(as_f32.isinf().sum())]
        if not self._terms.keeps_non_finite:
            raise NonFinite(
                f"tensor {segment.row.name!r} of the {role} holds {found[0]} NaN and {found[1]} infinite numbers among "
                f"elements {segment.first} to {segment.first + segment.elements - 1}; mend the checkpoint, or keep "
                "them with the policy non_finite: keep",
                tensor=segment.row.name,
                parent=role,
                nan=found[0],
                infinite=found[1],
            )
        if segment.action is Action.INTERPOLATE and role != "reference":
            sums = self.tally.of(segment.row)
            counts = sums.base_non_finite if role == "base" else sums.instruct_non_finite
            counts[:] = [counts[0] + found[0], counts[1] + found[1]]
        if _is_made(segment.row, role):
            values.masked_fill_(values.isnan(), math.nan)  # sums of NaN differ in bits between vector and scalar code
        return largest

    def _is_equal(self, segment: Segment, base: torch.Tensor, instruct: torch.Tensor, *, is_finite: bool) -> bool:
        """Whether the piece may be copied: its tensor is equal, or so far equal and the same either way."""
        if self._verdict is None:
            if not _same_bytes(base, instruct):
                self._verdict = False
            elif not is_finite or _lerp_changes(base) or self._is_rounded_otherwise(segment.row):
                self._verdict = self._rest_is_equal(segment)
        return self._verdict is not False

    def _is_rounded_otherwise(self, row: PlanRow) -> bool:
        """Whether computing rounds by chance what copying rounds to nearest."""
        return is_rounded_by_chance(row, self._terms) and _stored(row.base).dtype != row.out_dtype

    def _rest_is_equal(self, segment: Segment) -> bool:
        base, instruct = _stored(segment.row.base), _stored(segment.row.instruct)
        shift = instruct.start - base.start
        end = segment.source_range(base)[1] + min(base.end - base.start, instruct.end - instruct.start)
        end = min(end, base.end, instruct.end - shift)
        ours, theirs = HostBuffer(_AHEAD_BYTES), HostBuffer(_AHEAD_BYTES)
        for position in range(segment.source_range(base)[1], end, _AHEAD_BYTES):
            size = min(_AHEAD_BYTES, end - position)
            self._sources["base"].read_into(base.file, position, ours.bytes[:size])
            self._sources["instruct"].read_into(instruct.file, position + shift, theirs.bytes[:size])
            if not _same_bytes(ours.view(0, size), theirs.view(0, size)):
                return False
        return True


def _raw(slot: Slot, segment: Segment, role: Role, offset: int) -> torch.Tensor | None:
    """Return a piece's bytes of one parent; None where it does not read it."""
    side = segment.side(role)
    if side is None:
        return None
    start, end = segment.source_range(side)
    return slot.parents[role].view(offset, end - start)


def _f32(buffer: HostBuffer, segment: Segment, room: int) -> torch.Tensor:
    return buffer.view(room * 4, segment.elements * 4, torch.float32)


def _stored(side: ByteRange | None) -> ByteRange:
    if side is None:
        raise ValueError("a tensor is planned to interpolate, but one parent lacks it")
    return side


def _given(raw: torch.Tensor | None) -> torch.Tensor:
    if raw is None:
        raise ValueError("a tensor is planned to interpolate, but one parent lacks it")
    return raw


def _typed(raw: torch.Tensor | None, side: ByteRange | None) -> torch.Tensor:
    return _given(raw).view(TORCH_DTYPE[_stored(side).dtype])


def _is_made(row: PlanRow, role: Role) -> bool:
    """Whether a parent's numbers are made in float32 from more than its own bytes."""
    side = row.side(role)
    return side is None or side.scales is not None or (role == "instruct" and row.reference is not None)


def _own(row: PlanRow, role: Role, raws: Mapping[Role, torch.Tensor | None], made: torch.Tensor) -> torch.Tensor:
    """Return a parent's numbers in their own dtype, so that copies are its bytes; those made for it have no other."""
    return made if _is_made(row, role) else _typed(raws.get(role), row.side(role))


def _check_equal(segment: Segment, base: torch.Tensor | None, instruct: torch.Tensor | None) -> None:
    row = segment.row
    if not _same_bytes(_given(base), _given(instruct)):
        raise TensorsDiffer(
            f"tensor {row.name!r} ({row.out_dtype}) differs between the base's {_stored(row.base).file} and the "
            f"instruct's {_stored(row.instruct).file}; integer and bool tensors must be equal in both, or the policy "
            "integers says whose to copy",
            tensor=row.name,
        )


def _same_bytes(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Compare with numpy: seven times as fast as torch.equal, which goes byte by byte."""
    return np.array_equal(_bits(ours).numpy(), _bits(theirs).numpy())


def _bits(values: torch.Tensor) -> torch.Tensor:
    """Return numbers as integers of their width; bytes as they are."""
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    return values.view(width)


def _lerp_changes(values: torch.Tensor) -> bool:
    """Whether lerp(x, x) may differ from x for finite numbers: −0.0 can become +0.0, F64 is rounded."""
    if values.dtype is torch.float64:
        return True
    bits = _bits(values)
    return bool(bits.min() == torch.iinfo(bits.dtype).min)  # only the sign bit set: −0.0


def _kept(
    base_f32: torch.Tensor, instruct_f32: torch.Tensor, base: torch.Tensor, *, is_finite: bool
) -> torch.Tensor | None:
    """Return which elements are equal in both and would not survive lerp: −0.0, what is not finite, all of F64."""
    is_wide = base.dtype is torch.float64
    if is_finite and not is_wide and not _lerp_changes(base_f32):
        return None
    is_equal = (_bits(base_f32) == _bits(instruct_f32)) | (base_f32.isnan() & instruct_f32.isnan())
    return is_equal if is_wide else is_equal & ((base_f32 == 0) | ~base_f32.isfinite())
