"""Gather what all outputs of a sweep share: origin, inputs with digests, plan, sums, versions, files to copy along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from crossfade_core.ports import FileInfo
from crossfade_core.spec import MergeSpec, Role
from crossfade_core.statistics import SweepStatistics, output_figures, tensor_figures
from crossfade_core.sweep_plot import SweepPoint
from crossfade_core.sweep_warnings import warnings
from crossfade_worker.plan_record import PlanRecord, merged_results, read_plan

WEIGHTS: Final = ".safetensors"


@dataclass(frozen=True)
class Origin:
    """Which job, asking for what, submitted when (ISO 8601, UTC)."""

    spec: MergeSpec
    spec_digest: str
    job_id: str
    created_at: str


@dataclass(frozen=True)
class SweepFacts:
    """What all outputs of a job share.

    Attributes:
        origin: The job.
        plan: Its plan.
        inputs: Every file the units read, with its digest, by role.
        software: Each distinct set of versions that computed a unit.
        statistics: The units' sums.
        known: Digests of consulted files, by role and name, once an output has asked for them.
    """

    origin: Origin
    plan: PlanRecord
    inputs: Mapping[Role, Mapping[str, Mapping[str, Any]]]
    software: Sequence[Mapping[str, str]]
    statistics: SweepStatistics
    known: dict[tuple[Role, str], Mapping[str, Any]] = field(default_factory=dict)

    @property
    def consulted(self) -> list[tuple[Role, FileInfo]]:
        """Files that the plan was made from, neither weights nor copied along: indexes, the other parent's config."""
        return [
            (role, info)
            for role, files in self.plan.files.items()
            for info in files.values()
            if not info.name.endswith(WEIGHTS) and (role, info) not in self.plan.companions
        ]

    def output_name(self, position: int) -> str:
        """Return the name of one output."""
        return self.origin.spec.output_names(self.origin.job_id)[position]

    @cached_property
    def sweep(self) -> tuple[SweepPoint, ...]:
        """What every λ really did, in their order; computed once, as it goes over all tensors for each of them."""
        lambdas = self.origin.spec.lambdas
        records = [output_figures(self.statistics, position, lam).as_record() for position, lam in enumerate(lambdas)]
        return tuple(
            (lam, found["realised"], found["relative_delta_norm"]) for lam, found in zip(lambdas, records, strict=True)
        )

    def told(self, position: int) -> dict[str, Any]:
        """Return what one λ really did, as JSON: the output's figures, `warnings`, and the figures of its `tensors`."""
        spec = self.origin.spec
        figures = output_figures(self.statistics, position, spec.lambdas[position])
        tensors = tensor_figures(self.statistics, position, spec.lambdas[position])
        said = warnings(figures, tensors, rounding=spec.rounding, out_dtypes=self.plan.numbers["out_dtypes"])
        return {**figures.as_record(), "warnings": said, "tensors": [tensor.as_record() for tensor in tensors]}


def sweep_facts(origin: Origin, summary: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> SweepFacts:
    """Join a job's stored plan summary with its units' results.

    Args:
        origin: The job.
        summary: What `plan_summary` made.
        results: What `stream_shard` returned for each unit, in the order of the plan's shards.
    """
    plan = read_plan(summary)
    digests, software = merged_results(results)
    return SweepFacts(
        origin,
        plan,
        {role: _with_digests(files, digests.get(role, {})) for role, files in plan.files.items()},
        software,
        SweepStatistics.of_results(results),
    )


def _with_digests(files: Mapping[str, FileInfo], sha256: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {name: {"size_bytes": files[name].size_bytes, "sha256": digest} for name, digest in sha256.items()}
