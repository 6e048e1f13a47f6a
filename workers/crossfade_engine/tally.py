"""Sums that tell what a merge really did: per tensor, in the same pass. What they mean is `crossfade_core.statistics`.

Two kinds: what depends on the parents alone is summed once, by the loader; what depends on λ, by each output's stream.
Sampled sums run over one block in sixteen, counted from each tensor's first element; counts of NaN, infinity and
overflow always run over everything.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from crossfade_core.plan import Action, PlanRow, ShardPlan
from crossfade_core.spec import Statistics
from crossfade_engine.chunks import Segment
from crossfade_engine.slot import Piece

BLOCK_ELEMENTS: Final = 1 << 19
"""Elements taken at a time, at most. Every call gives the interpreter's lock away and waits for it again beside other
threads: smaller blocks cost more in calls than they gain in cache (docs/performance.md)."""
SAMPLED_ELEMENTS: Final = 1 << 16
"""Elements of a block that is sampled or left out."""
SAMPLED_ONE_IN: Final = 16
_DOT_ELEMENTS: Final = {4: 1 << 16, 8: 1 << 13}
"""Elements that numpy's dot gets at a time, by their size in bytes: float32 sums of so many are good to 10⁻⁷, and for
float64 OpenBLAS starts threads of its own above 10 000, beside the pass's."""
_WIDE: Final = ("F32", "F64")
"""Output dtypes whose rounding error is far below what sums in float32 could tell; theirs are in float64."""


@dataclass(slots=True)
class ParentSums:
    """Of one tensor: Σ (I−B)², Σ B² over `counted` elements, and how many are [NaN, infinite] in each parent."""

    counted: int = 0
    delta_squares: float = 0.0
    base_squares: float = 0.0
    base_non_finite: list[int] = field(default_factory=lambda: [0, 0])
    instruct_non_finite: list[int] = field(default_factory=lambda: [0, 0])


@dataclass(slots=True)
class OutputSums:
    """Of one tensor at one λ: Σ (M−B)(I−B), Σ (M−B)², how many M equal B, how many results overflowed."""

    step_products: float = 0.0
    step_squares: float = 0.0
    unchanged: int = 0
    overflowed: int = 0


def blocks(segment: Segment, method: Statistics, *, is_wide: bool = False) -> Iterator[tuple[int, int]]:
    """Yield the (first, end) elements of a piece that sums run over, block by block, counted from its own first."""
    end = segment.first + segment.elements
    size = BLOCK_ELEMENTS if method == "exact" and not is_wide else SAMPLED_ELEMENTS  # float64 takes twice the room
    one_in = 1 if method == "exact" else SAMPLED_ONE_IN
    for number in range(segment.first // size, -(-end // size)):
        if number % one_in == 0:
            yield max(segment.first, number * size) - segment.first, min(end, (number + 1) * size) - segment.first


class ParentTally:
    """Sums over the parents of one shard, by tensor.

    Args:
        method: Over every element, or a sample.
    """

    def __init__(self, method: Statistics) -> None:
        self.method = method
        self.sums: dict[str, ParentSums] = {}

    def add(self, piece: Piece, numbers: torch.Tensor | None, *, is_filled: bool) -> None:
        """Add a piece of an interpolated tensor; fills its `base_f32` and `delta_f32` where the sums run.

        Args:
            piece: Which one; without `delta_f32` both parents are equal there.
            numbers: The instruct's, in any dtype; None where both are equal.
            is_filled: Whether `base_f32` holds the base already.
        """
        if piece.base is None or piece.base_f32 is None:
            return
        sums, is_wide = self.of(piece.segment.row), piece.segment.row.out_dtype in _WIDE
        for low, high in blocks(piece.segment, self.method, is_wide=is_wide):
            base_f32 = piece.base_f32[low:high]
            if not is_filled:
                base_f32.copy_(piece.base[low:high])
            sums.counted += high - low
            sums.base_squares += _dot(base_f32, base_f32)
            if numbers is not None and piece.delta_f32 is not None:
                delta_f32 = piece.delta_f32[low:high].copy_(numbers[low:high]).sub_(base_f32)
                delta = delta_f32.double() if is_wide else delta_f32
                sums.delta_squares += _dot(delta, delta)

    def of(self, row: PlanRow) -> ParentSums:
        """Return the sums of a tensor."""
        return self.sums.setdefault(row.name, ParentSums())


class OutputTally:
    """Sums over one λ of one shard, by tensor. Holds one block.

    Args:
        method: Over every element, or a sample.
    """

    def __init__(self, method: Statistics) -> None:
        self._method = method
        self.sums: dict[str, OutputSums] = {}

    def add(self, piece: Piece, out: torch.Tensor, room_f32: torch.Tensor) -> None:
        """Add a piece.

        Args:
            piece: With `base_f32` and `delta_f32` filled; without the latter, both parents are equal there.
            out: What was made of it, in the output's dtype.
            room_f32: At least `BLOCK_ELEMENTS` of float32, overwritten.
        """
        sums = self.of(piece.segment.row)
        if piece.base is None or piece.base_f32 is None:
            return
        if piece.delta_f32 is None and out.dtype is piece.base.dtype:
            sums.unchanged += sum(high - low for low, high in blocks(piece.segment, self._method))
            return
        is_wide = piece.segment.row.out_dtype in _WIDE
        for low, high in blocks(piece.segment, self._method, is_wide=is_wide):
            base_f32 = piece.base_f32[low:high]
            made_f32 = room_f32[: high - low].copy_(out[low:high])
            if out.dtype is piece.base.dtype:
                sums.unchanged += high - low - _count_differing(_bits(out[low:high]), _bits(piece.base[low:high]))
            else:
                sums.unchanged += high - low - _count_differing(made_f32, base_f32)
            step = made_f32.sub_(base_f32)
            if is_wide:
                step = step.double()
            sums.step_squares += _dot(step, step)
            if piece.delta_f32 is not None:
                sums.step_products += _dot(step, piece.delta_f32[low:high].to(step.dtype))

    def of(self, row: PlanRow) -> OutputSums:
        """Return the sums of a tensor."""
        return self.sums.setdefault(row.name, OutputSums())


def as_record(shard: ShardPlan, parents: ParentTally, outputs: Sequence[OutputTally]) -> dict[str, Any]:
    """Return the sums of a pass as JSON: every interpolated tensor once, with one entry for each λ."""
    empty = ParentSums()
    return {
        "method": parents.method,
        "tensors": [
            _tensor(row, parents.sums.get(row.name, empty), [tally.sums for tally in outputs])
            for row in shard.rows
            if row.action is Action.INTERPOLATE
        ],
    }


def _tensor(row: PlanRow, sums: ParentSums, outputs: Sequence[Mapping[str, OutputSums]]) -> dict[str, Any]:
    none = OutputSums()
    found = [held.get(row.name, none) for held in outputs]
    return {
        "tensor": row.name,
        "factor": row.factor,
        "elements": row.elements if row.shared_elements is None else row.shared_elements,
        "counted": sums.counted,
        "delta_squares": _finite(sums.delta_squares),
        "base_squares": _finite(sums.base_squares),
        "base_non_finite": sums.base_non_finite,
        "instruct_non_finite": sums.instruct_non_finite,
        "outputs": [[_finite(of.step_products), _finite(of.step_squares), of.unchanged, of.overflowed] for of in found],
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: sums of numbers near the end of float32's range may be one."""
    return value if math.isfinite(value) else None


def _dot(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Sum products, without those of elements that are NaN or infinite."""
    left, right, size = ours.numpy(), theirs.numpy(), _DOT_ELEMENTS[ours.element_size()]
    with np.errstate(all="ignore"):
        total = sum(float(left[low : low + size].dot(right[low : low + size])) for low in range(0, len(left), size))
    if math.isfinite(total):
        return total
    return float(torch.dot(ours.nan_to_num(0.0, 0.0, 0.0), theirs.nan_to_num(0.0, 0.0, 0.0)))


def _count_differing(ours: torch.Tensor, theirs: torch.Tensor) -> int:
    return int(np.count_nonzero(ours.numpy() != theirs.numpy()))


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])
