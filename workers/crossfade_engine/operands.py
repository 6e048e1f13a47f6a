"""Bring the numbers of a piece to float32 where its bytes are not yet the numbers: scaled codes, adapters, chains.

Every element depends on its own tensor alone, never on where a chunk ends, and all sums run in one fixed order in
float64, where the products of float32 factors are exact: so the bits are the same on every machine and device.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import torch

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.plan import ByteRange, LowRankDelta, PlanRow, Scales
from crossfade_core.ports import Source
from crossfade_core.spec import Role
from crossfade_engine.chunks import Segment
from crossfade_engine.dtypes import CODE_VALUES, SCALE_DTYPE, TORCH_DTYPE

_TILE_ELEMENTS: Final = 1 << 15
"""Elements of a delta made at a time: a float64 sum of them stays in the second-level cache."""


class Operands:
    """Forms float32 numbers; holds the scales and factors of the tensor in hand, nothing else. One thread at a time.

    Args:
        sources: The parents.
    """

    def __init__(self, sources: Mapping[Role, Source]) -> None:
        self._sources = sources
        self._row: PlanRow | None = None
        self._scales: dict[Role, torch.Tensor] = {}
        self._factors: tuple[torch.Tensor, torch.Tensor] | None = None
        self._magnitude: torch.Tensor | None = None

    def widen(self, segment: Segment, role: Role, raw: torch.Tensor, room_f32: torch.Tensor) -> torch.Tensor:
        """Write one parent's own numbers into `room_f32` and return it.

        Args:
            segment: The piece.
            role: The parent.
            raw: Its bytes, uint8.
            room_f32: As many elements as the piece has.

        Raises:
            SourceError: The scales cannot be read.
        """
        side = _present(segment.row.side(role))
        if side.scales is None:
            return room_f32.copy_(raw.view(TORCH_DTYPE[side.dtype]))
        self._turn_to(segment.row)
        # By table: three times as fast as torch's own conversion, and the same numbers. "clip" spares numpy a copy.
        np.take(CODE_VALUES[side.dtype], raw.numpy(), out=room_f32.numpy(), mode="clip")
        room_f32.mul_(self._scales_of(segment, role, side.scales))
        return room_f32.copy_(room_f32.bfloat16())  # a dequantised checkpoint is one in bf16

    def add_difference(
        self, base_f32: torch.Tensor, instruct_f32: torch.Tensor, reference_f32: torch.Tensor
    ) -> torch.Tensor:
        """Turn `instruct_f32` into base + (instruct − reference); where those two are equal, into the base itself."""
        is_still = (instruct_f32 == reference_f32) | (instruct_f32.isnan() & reference_f32.isnan())  # ∞ − ∞ is NaN
        return _add(base_f32, instruct_f32.sub_(reference_f32), is_still)

    def add_delta(self, segment: Segment, base_f32: torch.Tensor, room_f32: torch.Tensor) -> torch.Tensor:
        """Write what an adapter makes of the base's piece into `room_f32` and return it.

        Raises:
            SourceError: A factor, or the rest of a row that DoRA needs, cannot be read.
        """
        row, delta = segment.row, segment.row.delta
        if delta is None:
            raise ValueError(f"tensor {row.name!r} has no delta")
        self._turn_to(row)
        if delta.magnitude is not None:
            return room_f32.copy_(self._scaled_rows(segment, delta, base_f32))
        columns = row.shape[-1]
        first, end = segment.first, segment.first + segment.elements
        for low, high in _tiles(first // columns, -(-end // columns), columns):
            start, stop = max(first, low * columns), min(end, high * columns)
            tile = self._delta_rows(delta, row, low, high).view(-1)[start - low * columns : stop - low * columns]
            room_f32[start - first : stop - first] = tile
        return _add(base_f32, room_f32, room_f32 == 0)

    def _turn_to(self, row: PlanRow) -> None:
        if row is not self._row:
            self._row, self._factors, self._magnitude = row, None, None
            self._scales.clear()

    def _scales_of(self, segment: Segment, role: Role, scales: Scales) -> torch.Tensor:
        """Return the scale of every element of the piece, or the one scale of all."""
        if role not in self._scales:
            self._scales[role] = self._read(role, scales).float().view(-1, scales.shape[-1])
        held = self._scales[role]
        if held.numel() == 1:
            return held.view(())
        shape = segment.row.shape if len(segment.row.shape) > 1 else (1, *segment.row.shape)
        down, columns = shape[-2], shape[-1]
        first, end = segment.first // columns, -(-(segment.first + segment.elements) // columns)
        rows = torch.arange(first, end)
        blocks = (rows // down) * scales.shape[-2] + (rows % down) // scales.block[0]
        spread = held[blocks].repeat_interleave(scales.block[1], dim=1)[:, :columns].reshape(-1)
        return spread[segment.first - first * columns :][: segment.elements]

    def _scaled_rows(self, segment: Segment, delta: LowRankDelta, base_f32: torch.Tensor) -> torch.Tensor:
        """DoRA: magnitude · V / ‖V‖ by rows, V = base + delta. Source: arXiv 2402.09353, equation 5."""
        row = segment.row
        columns = row.shape[-1]
        low, high = segment.first // columns, -(-(segment.first + segment.elements) // columns)
        before = self._base_values(row, low * columns, segment.first)
        after = self._base_values(row, segment.first + segment.elements, high * columns)
        rows = torch.cat([before, base_f32, after]).view(high - low, columns)
        if self._magnitude is None:
            self._magnitude = self._read("instruct", _present(delta.magnitude))
        for first, end in _tiles(low, high, columns):
            part, step = rows[first - low : end - low], self._delta_rows(delta, row, first, end).float()
            whole = _add(part, step, step == 0).double()
            lengths = _sum_columns(whole * whole).sqrt()
            part.copy_(whole * (self._magnitude[first:end].double() / lengths).unsqueeze(1))
        return rows.view(-1)[segment.first - low * columns :][: segment.elements]

    def _base_values(self, row: PlanRow, first: int, end: int) -> torch.Tensor:
        side = _present(row.base)
        part = Segment(row, row.action, first, end - first, 0, 0)
        start, stop = part.source_range(side)
        raw = bytearray(stop - start)
        if not raw:
            return torch.empty(0)
        self._sources["base"].read_into(side.file, start, memoryview(raw))
        return self.widen(part, "base", torch.frombuffer(raw, dtype=torch.uint8), torch.empty(end - first))

    def _delta_rows(self, delta: LowRankDelta, row: PlanRow, low: int, high: int) -> torch.Tensor:
        """Return rows `low` to `high` of scaling · left @ right in float64, [rows, columns], summed rank by rank."""
        if self._factors is None:
            self._factors = self._read_factors(delta, row)
        left, right = self._factors
        part = left[low:high].double()
        total = torch.zeros(high - low, row.shape[-1], dtype=torch.float64)
        for k in range(delta.rank):
            total.addcmul_(part[:, k : k + 1], right[k])
        return total.mul_(delta.scaling)

    def _read_factors(self, delta: LowRankDelta, row: PlanRow) -> tuple[torch.Tensor, torch.Tensor]:
        """Return left [rows, rank] as stored and right [rank, columns] in float64."""
        rows, columns = row.shape[-2], row.shape[-1]
        down, up = self._read("instruct", delta.down), self._read("instruct", delta.up)
        if delta.is_transposed:
            return down.view(delta.rank, rows).T, up.view(columns, delta.rank).T.double().contiguous()
        return up.view(rows, delta.rank), down.view(delta.rank, columns).double()

    def _read(self, role: Role, stored: ByteRange | Scales) -> torch.Tensor:
        raw = bytearray(stored.end - stored.start)
        self._sources[role].read_into(stored.file, stored.start, memoryview(raw))
        return torch.frombuffer(raw, dtype=SCALE_DTYPE[stored.dtype])


def _tiles(low: int, high: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield rows `low` to `high` as (first, end) of a few each."""
    step = max(1, _TILE_ELEMENTS // columns)
    for first in range(low, high, step):
        yield first, min(first + step, high)


def _add(base_f32: torch.Tensor, step_f32: torch.Tensor, is_still: torch.Tensor) -> torch.Tensor:
    """Turn a step into base + step; where it `is_still` into the base, as −0.0 + 0.0 would be +0.0."""
    step_f32.add_(base_f32)
    return torch.where(is_still, base_f32, step_f32, out=step_f32)


def _sum_columns(values: torch.Tensor) -> torch.Tensor:
    """Sum over the last dimension, halves added to halves: an order that no vector width changes."""
    width = 1 << math.ceil(math.log2(max(values.shape[-1], 1)))
    total = torch.nn.functional.pad(values, (0, width - values.shape[-1]))
    while width > 1:
        width //= 2
        total = total[:, :width] + total[:, width : 2 * width]
    return total[:, 0]


def _present(side: ByteRange | None) -> ByteRange:
    if side is None:
        raise ValueError("a tensor is planned with bytes that no parent holds")
    return side


def elements_of(side: ByteRange) -> int:
    """Return how many elements a stored tensor has."""
    return (side.end - side.start) * 8 // DTYPE_BITS[side.dtype]
