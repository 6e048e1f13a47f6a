"""What a job asks of the arithmetic beyond its λ: rounding, statistics, policies for what headers cannot tell."""

from dataclasses import dataclass
from typing import Self

from crossfade_core.spec import MergeSpec, Rounding, Statistics


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a merge.

    Attributes:
        rounding: How results are rounded to BF16 and F16.
        seed: Of stochastic rounding.
        statistics: Over every element, or over one block in sixteen.
        keeps_non_finite: Whether NaN and infinity in a parent are counted and kept, or refused.
        keeps_overflow: Whether results too large for the output's dtype are counted and kept, or refused.
    """

    rounding: Rounding = "nearest"
    seed: int = 0
    statistics: Statistics = "exact"
    keeps_non_finite: bool = False
    keeps_overflow: bool = False

    @classmethod
    def of(cls, spec: MergeSpec) -> Self:
        """Return the terms of a job."""
        return cls(
            spec.rounding,
            spec.seed,
            spec.statistics,
            keeps_non_finite=spec.policies.non_finite == "keep",
            keeps_overflow=spec.policies.overflow == "keep",
        )
