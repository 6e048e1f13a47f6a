"""The JSON shape of a dry run, and how it is made of one."""

from typing import Any, Final, Self

from pydantic import ConfigDict, Field

from crossfade_api.planning import DryRun
from crossfade_api.views import ErrorView, PlanView, View
from crossfade_core.job_store import Throughput
from crossfade_core.spec import spec_digest

MAX_NAMED_EXCEPTIONS: Final = 500


class ExceptionView(View):
    """One tensor that is not plainly interpolated."""

    tensor: str = Field(examples=["model.embed_tokens.weight"])
    action: str = Field(examples=["copy_base"])
    reason: str = Field(examples=["matches skip '*embed*'"])


class PlannedOutputView(View):
    """One output as it would be named; `{job}` stands where the job's id would."""

    lam: float = Field(serialization_alias="lambda", examples=[0.5])
    name: str = Field(examples=["instruct-pad-0.5"])


class EstimateView(View):
    """How long merging and publishing may take, by what jobs of late have measured."""

    seconds: float = Field(description="Without the time a job waits for workers.", examples=[412.5])
    rate_bytes_per_second: float = Field(description="Of the measured jobs together, in output bytes over all λ.")
    measured_jobs: int = Field(description="How many; to the same destination where there were any.", examples=[20])

    @classmethod
    def of(cls, write_bytes: int, measured: Throughput | None) -> Self | None:
        """Divide what is to be written by what was measured; None where nothing was."""
        if measured is None:
            return None
        rate = measured.written_bytes / measured.seconds
        return cls(seconds=write_bytes / rate, rate_bytes_per_second=rate, measured_jobs=measured.jobs)


class PlanReport(PlanView):
    """What a submission would do, and whether it would be accepted at this moment."""

    model_config = ConfigDict(extra="forbid")

    accepted: bool = Field(description="Whether it would be: there are no obstacles.")
    obstacles: list[ErrorView] = Field(
        description="Everything a submission would be refused for. Where tensors cannot be merged (`plan_refused`), "
        "the numbers are those of the others."
    )
    job: str | None = Field(description="The job that would answer it, which makes or has made the same.")
    spec_digest: str = Field(description="`sha256:` over the spec's canonical JSON.")
    config_changes: dict[str, Any] = Field(
        description="What the outputs' config.json would say other than its original: JSON pointer to value.",
        examples=[{"/torch_dtype": "float32"}],
    )
    notes: list[str] = Field(description="What to know of the plan.")
    exceptions: list[ExceptionView] = Field(
        description=f"Tensors that are not plainly interpolated, and why; the first {MAX_NAMED_EXCEPTIONS}."
    )
    exception_count: int = Field(description="All of them.")
    outputs: list[PlannedOutputView] = Field(description="One for each λ, in the order of the spec.")
    requires_approval: bool = Field(
        description="Whether the destination keeps outputs STAGED, seen by nobody, until they are approved."
    )
    write_bytes: int = Field(description="Shards of all λ together.")
    scratch_bytes: int | None = Field(
        description="Needed on the workers' local scratch; 0 where nothing passes through it, null where the "
        "destination cannot be opened."
    )
    estimate: EstimateView | None = Field(description="Null where no job has been measured yet.")

    @classmethod
    def of(cls, found: DryRun) -> Self:
        """Show a dry run."""
        plan, spec = found.sourced.plan, found.spec
        exceptions = plan.exceptions()
        write_bytes = plan.write_bytes_per_output * len(spec.lambdas)
        return cls.model_validate(
            {
                **plan.summary(),
                "sources": dict(found.sourced.uris),
                "accepted": not found.obstacles,
                "obstacles": [obstacle.as_record() for obstacle in found.obstacles],
                "job": None if found.job is None else found.job.id,
                "spec_digest": spec_digest(spec),
                "config_changes": dict(plan.config_changes or {}),
                "exceptions": exceptions[:MAX_NAMED_EXCEPTIONS],
                "exception_count": len(exceptions),
                "outputs": [
                    {"lam": lam, "name": name}
                    for lam, name in zip(spec.lambdas, spec.output_names("{job}"), strict=True)
                ],
                "requires_approval": found.requires_approval,
                "write_bytes": write_bytes,
                "scratch_bytes": found.scratch_bytes,
                "estimate": EstimateView.of(write_bytes, found.measured),
            }
        )
