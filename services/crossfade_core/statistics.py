"""What each λ really did, in figures: from the sums that the units kept to what people, lineage and the API read.

It never sees a tensor and refuses nothing: what a figure means in words is for `crossfade_core.sweep_warnings`.

Notation, over the elements of a tensor with base B, instruct I and output M, all of them or a sample: dd = Σ (I−B)²,
bb = Σ B², pd = Σ (M−B)·(I−B), pp = Σ (M−B)²; the strength asked for is λf = float32(λ·factor).
Source of the realised strength λ̂ = pd / dd: the projection of the step M−B on the delta I−B; no paper reports it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from crossfade_core.spec import Statistics
from crossfade_core.strength import as_float32

_DIGITS: Final = 6


@dataclass(frozen=True)
class TensorSums:
    """What a unit counted on one interpolated tensor. Sums may be infinite or NaN where the tensor holds such.

    Attributes:
        tensor: Its name.
        factor: The schedule's: its strength is float32(λ·factor).
        elements: How many it has.
        counted: How many of them the sums run over; 0 where nothing was computed: equal in both parents, or copied.
        delta_squares: dd.
        base_squares: bb.
        base_non_finite: How many NaN and how many infinities the base holds, over all elements.
        instruct_non_finite: The same of the instruct.
        outputs: [pd, pp, how many M equal B, how many finite inputs gave a non-finite result] for each λ of the job,
            as the unit's JSON has it: there may be a million of them.
    """

    tensor: str
    factor: float
    elements: int
    counted: int
    delta_squares: float
    base_squares: float
    base_non_finite: tuple[int, int]
    instruct_non_finite: tuple[int, int]
    outputs: Sequence[Sequence[float | None]]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read one entry of a unit's `statistics`; null stands for a sum that JSON has no number for."""
        return cls(
            tensor=record["tensor"],
            factor=record["factor"],
            elements=record["elements"],
            counted=record["counted"],
            delta_squares=_sum(record["delta_squares"]),
            base_squares=_sum(record["base_squares"]),
            base_non_finite=_pair(record["base_non_finite"]),
            instruct_non_finite=_pair(record["instruct_non_finite"]),
            outputs=record["outputs"],
        )

    def output(self, position: int) -> tuple[float, float, int, int]:
        """Return (pd, pp, unchanged, overflowed) of one λ."""
        pd, pp, unchanged, overflowed = self.outputs[position]
        return _sum(pd), _sum(pp), int(unchanged or 0), int(overflowed or 0)


@dataclass(frozen=True)
class SweepStatistics:
    """The sums of a whole job: every interpolated tensor, every λ; `method` says what they run over."""

    method: Statistics
    tensors: tuple[TensorSums, ...]

    @classmethod
    def of_results(cls, results: Sequence[Mapping[str, Any]]) -> Self:
        """Join the `statistics` of a job's units, in the order of its shards."""
        parts = [result["statistics"] for result in results]
        method: Statistics = "sampled" if any(part["method"] == "sampled" for part in parts) else "exact"
        return cls(method, tuple(TensorSums.from_record(tensor) for part in parts for tensor in part["tensors"]))


@dataclass(frozen=True)
class Figures:
    """What one λ did to a tensor or to all of them. None stands where there is nothing to divide by.

    Attributes:
        requested: The strength asked for; of several tensors the mean, weighted by dd.
        realised: λ̂ = pd / dd.
        relative_delta_norm: √(pp / bb): how far the output moved from the base.
        unchanged_share: Share of elements that equal the base's, 0 to 1.
        rounding_error: ‖M − exact‖ relative to the intended step: √(pp − 2·λf·pd + λf²·dd) / √(λf²·dd).
        base_non_finite: How many NaN and how many infinities the base holds.
        instruct_non_finite: The same of the instruct.
        overflowed: How many finite inputs gave a non-finite result.
    """

    requested: float
    realised: float | None
    relative_delta_norm: float | None
    unchanged_share: float | None
    rounding_error: float | None
    base_non_finite: tuple[int, int]
    instruct_non_finite: tuple[int, int]
    overflowed: int

    def _ratios(self) -> dict[str, Any]:
        return {
            "requested": _rounded(self.requested),
            "realised": _rounded(self.realised),
            "relative_delta_norm": _rounded(self.relative_delta_norm),
            "unchanged_share": _rounded(self.unchanged_share),
            "rounding_error": _rounded(self.rounding_error),
        }

    def _counts(self) -> dict[str, Any]:
        return {
            "base_non_finite": list(self.base_non_finite),
            "instruct_non_finite": list(self.instruct_non_finite),
            "overflowed": self.overflowed,
        }


@dataclass(frozen=True)
class OutputFigures(Figures):
    """The figures of a whole output. `left_out` counts tensors without finite sums, which the ratios leave out."""

    method: Statistics
    left_out: int

    def as_record(self) -> dict[str, Any]:
        """Return the figures as JSON, to six significant digits."""
        return {"method": self.method, **self._ratios(), **self._counts()}


@dataclass(frozen=True)
class TensorFigures(Figures):
    """The figures of one tensor; the ratios are None where its sums are not finite, and where nothing was counted."""

    tensor: str

    def as_record(self) -> dict[str, Any]:
        """Return the figures as JSON, to six significant digits; counts that are 0 are left out."""
        counts = {name: found for name, found in self._counts().items() if found not in (0, [0, 0])}
        return {"tensor": self.tensor, **self._ratios(), **counts}


def output_figures(statistics: SweepStatistics, position: int, lam: float) -> OutputFigures:
    """Return the figures of one output: the sums added over its tensors.

    The sums of a sampled tensor stand for the whole of it: they are scaled by elements / counted before they are added.

    Args:
        statistics: Of the job.
        position: Which of the job's λ.
        lam: That λ.
    """
    steps = [_step(sums, position, lam) for sums in statistics.tensors]
    finite = [step for step in steps if step.is_finite]
    whole = _Step(*map(sum, zip(*finite, strict=True))) if finite else _NO_STEP
    mean = _ratio(whole.wanted, whole.delta_squares)
    return OutputFigures(
        as_float32(lam) if mean is None else mean,
        *whole.ratios(),
        base_non_finite=_added(sums.base_non_finite for sums in statistics.tensors),
        instruct_non_finite=_added(sums.instruct_non_finite for sums in statistics.tensors),
        overflowed=sum(sums.output(position)[3] for sums in statistics.tensors),
        method=statistics.method,
        left_out=len(steps) - len(finite),
    )


def tensor_figures(statistics: SweepStatistics, position: int, lam: float) -> tuple[TensorFigures, ...]:
    """Return the figures of every interpolated tensor of one output; arguments as for `output_figures`."""
    return tuple(
        TensorFigures(
            _strength(sums, lam),
            *_step(sums, position, lam).ratios(),
            base_non_finite=sums.base_non_finite,
            instruct_non_finite=sums.instruct_non_finite,
            overflowed=sums.output(position)[3],
            tensor=sums.tensor,
        )
        for sums in statistics.tensors
    )


class _Step(NamedTuple):
    """The sums behind ratios; over several tensors they add. `wanted` is λf·dd, `error_squares` ‖M − exact‖²."""

    counted: float
    unchanged: float
    delta_squares: float
    base_squares: float
    moved_along: float
    moved_squares: float
    wanted: float
    wanted_squares: float
    error_squares: float

    @property
    def is_finite(self) -> bool:
        return all(map(math.isfinite, self))

    def ratios(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Return (realised, relative_delta_norm, unchanged_share, rounding_error)."""
        return (
            _ratio(self.moved_along, self.delta_squares),
            _root(_ratio(self.moved_squares, self.base_squares)),
            _ratio(self.unchanged, self.counted),
            _root(_ratio(self.error_squares, self.wanted_squares)),
        )


_NO_STEP: Final = _Step(*[0.0] * 9)


def _strength(sums: TensorSums, lam: float) -> float:
    return as_float32(lam * sums.factor)


def _step(sums: TensorSums, position: int, lam: float) -> _Step:
    lam_f = _strength(sums, lam)
    pd, pp, unchanged, _ = sums.output(position)
    dd = sums.delta_squares
    wanted, wanted_squares = lam_f * dd, lam_f * lam_f * dd
    error_squares = pp - 2 * lam_f * pd + wanted_squares
    found = (
        sums.counted,
        unchanged,
        dd,
        sums.base_squares,
        pd,
        pp,
        wanted,
        wanted_squares,
        # What is left of the difference of nearly equal sums may be a hair below nothing; NaN stays NaN.
        0.0 if error_squares < 0 else error_squares,
    )
    weight = sums.elements / sums.counted if sums.counted else 0.0
    return _Step(*(weight * value if sums.counted else 0.0 for value in found))


def _ratio(over: float, under: float) -> float | None:
    """Return the quotient, or None where it is no finite number."""
    if not math.isfinite(over) or not math.isfinite(under) or under <= 0:
        return None
    quotient = over / under
    return quotient if math.isfinite(quotient) else None


def _root(ratio: float | None) -> float | None:
    return None if ratio is None or ratio < 0 else math.sqrt(ratio)


def _added(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    nan = inf = 0
    for more_nan, more_inf in pairs:
        nan, inf = nan + more_nan, inf + more_inf
    return nan, inf


def _pair(counts: Sequence[int]) -> tuple[int, int]:
    nan, inf = counts
    return nan, inf


def _sum(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
