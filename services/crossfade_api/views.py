"""The JSON shapes of the API, and how core's records become them. Never asks the store."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from crossfade_core.errors import Blame
from crossfade_core.job import Approval, Job, JobState, Output, OutputState, OutputSummary, Phase, Progress
from crossfade_core.spec import MergeSpec, Statistics


class View(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


class ProgressView(View):
    """How far the streaming is. Bytes are output bytes over all λ; all 0 before the plan is stored."""

    bytes_done: int = Field(examples=[1_288_490_188])
    bytes_total: int = Field(examples=[3_221_225_472])
    units_done: int = Field(description="Output shards that are done, each for every λ.", examples=[2])
    units_total: int = Field(examples=[5])
    rate_bytes_per_second: float | None = Field(description="Average since merging began; null before.")
    eta_seconds: float | None = Field(description="Time left for merging at that rate; null when it cannot be told.")

    @classmethod
    def of(cls, job: Job, progress: Progress, now: datetime) -> Self:
        """Work out rate and time left at `now`; a job that has ended keeps the average it ended with."""
        rate = eta = None
        if job.merging_at is not None:
            elapsed_seconds = ((job.finished_at or now) - job.merging_at).total_seconds()
            if elapsed_seconds > 0 and progress.bytes_done > 0:
                rate = progress.bytes_done / elapsed_seconds
                if job.state is JobState.RUNNING:
                    eta = (progress.bytes_total - progress.bytes_done) / rate
        return cls(
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            units_done=progress.units_done,
            units_total=progress.units_total,
            rate_bytes_per_second=rate,
            eta_seconds=eta,
        )


class ShardView(View):
    """One safetensors file of every output."""

    file: str = Field(examples=["model-00001-of-00005.safetensors"])
    size_bytes: int


class PlanView(View):
    """The plan in a few numbers; null before it is stored."""

    model_config = ConfigDict(extra="allow")

    tensors: int
    actions: dict[str, int] = Field(description="Tensors by what happens to them.", examples=[{"interpolate": 290}])
    out_dtypes: dict[str, int] = Field(description="Tensors by dtype in the outputs.", examples=[{"BF16": 290}])
    shards: list[ShardView]
    sources: dict[str, str] = Field(
        description="What was planned, by role: URIs that mean the same tomorrow, a Hub's with its commit.",
        examples=[{"base": "hf://acme/base@0f6c5d1d1b5c7cbbd8b0a4e07ad7a6a2d2b3f2a1"}],
    )
    read_bytes: int = Field(description="Read once for the whole sweep, both sources together.")
    write_bytes_per_output: int


class FileView(View):
    """One file of a published output."""

    name: str
    size_bytes: int
    sha256: str = Field(description="Hex digest of the file's bytes.")


class ErrorView(View):
    """What ended a job or an output."""

    code: str = Field(examples=["tensors_differ"])
    message: str
    blame: Blame
    retryable: bool
    details: dict[str, Any]


class FiguresView(View):
    """What one λ really did to the whole output; null where there is nothing to divide by, or no finite number."""

    model_config = ConfigDict(extra="allow")

    method: Statistics = Field(description="Over every element, or over one block in sixteen.")
    requested: float = Field(
        description="λ; under a schedule the mean strength, weighted by the delta.", examples=[0.1]
    )
    realised: float | None = Field(description="λ̂: how far the output really moved along the delta.", examples=[0.0268])
    relative_delta_norm: float | None = Field(description="How far it moved from the base, relative to its norm.")
    unchanged_share: float | None = Field(description="Share of elements that equal the base's.")
    rounding_error: float | None = Field(description="Distance from the exact merge, relative to the intended step.")
    base_non_finite: tuple[int, int] = Field(description="NaN and infinities in the base.")
    instruct_non_finite: tuple[int, int] = Field(description="NaN and infinities in the instruct side.")
    overflowed: int = Field(description="Results too large for the output's dtype.")


class OutputSummaryView(View):
    """The checkpoint of one λ as a list shows it."""

    position: int = Field(description="Its place in the spec's λ list, from 0 on; how paths name it.", examples=[0])
    lam: float = Field(serialization_alias="lambda", examples=[0.5])
    name: str = Field(description="Its place below the destination.", examples=["instruct-pad-0.5"])
    state: OutputState = Field(description="STAGED waits, whole and seen by nobody, for approval.")
    approval: Approval = Field(description="What was decided about it, apart from its state.")
    uri: str | None = Field(description="Where it was published.")
    ended_at: datetime | None = Field(description="When it was published, or failed, or was cancelled.")


class OutputView(OutputSummaryView):
    """The checkpoint of one λ."""

    approval_reason: str | None = Field(description="Why it was so decided, in the words of who did.")
    decided_by: str | None = Field(description="The name of the key.", examples=["reviewer"])
    decided_at: datetime | None
    staged_at: datetime | None = Field(description="Since when it waits, or waited, for approval.")
    size_bytes: int | None = Field(description="All its files together, once staged or published.")
    files: list[FileView]
    figures: FiguresView | None = Field(description="What its λ really did, once staged or published.")
    warnings: list[str] = Field(description="What to know before trusting it, with the cures.")
    error: ErrorView | None

    @classmethod
    def of(cls, output: Output) -> Self:
        """Show one output."""
        told = output.statistics or {}
        size_bytes = sum(facts["size_bytes"] for facts in output.files.values())
        return cls.model_validate(  # in one call: a page of jobs has a thousand files
            {
                "position": output.position,
                "lam": output.lam,
                "name": output.name,
                "state": output.state,
                "approval": output.approval,
                "approval_reason": output.approval_reason,
                "decided_by": output.decided_by,
                "decided_at": output.decided_at,
                "staged_at": output.staged_at,
                "ended_at": output.ended_at,
                "uri": output.uri,
                "size_bytes": size_bytes if output.files else None,
                "files": [{"name": name, **facts} for name, facts in sorted(output.files.items())],
                "figures": _figures(told),
                "warnings": told.get("warnings", []),
                "error": output.error,
            }
        )


class LinksView(View):
    """Where to go from here; paths on this server."""

    self: str
    events: str
    cancel: str
    retry: str

    @classmethod
    def of(cls, job: Job) -> "LinksView":
        """Return the paths of one job."""
        path = f"/v1/merges/{job.id}"
        return cls.model_validate(
            {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel", "retry": f"{path}/retry"}
        )


class _JobFacts(View):
    """What is told of a job wherever it is shown."""

    id: str
    state: JobState
    phase: Phase = Field(description="Where inside its state the job is; for people and progress bars.")
    spec: SkipValidation[MergeSpec]
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = Field(description="When it became RUNNING.")
    finished_at: datetime | None
    submitted_by: str | None = Field(description="The name of the key it was submitted with.", examples=["release"])
    progress: ProgressView
    error: ErrorView | None
    links: LinksView


class JobView(_JobFacts):
    """One job: what was asked, where it stands, what came of it."""

    spec_digest: str = Field(description="`sha256:` over the spec's canonical JSON.")
    merging_at: datetime | None = Field(description="When its plan was stored and merging began.")
    cancel_requested_at: datetime | None
    deadline_at: datetime | None = Field(description="When it fails unless it has ended; null without a deadline.")
    requires_approval: bool = Field(
        description="Whether its destination, as it is configured now, keeps outputs STAGED until they are approved."
    )
    reused: bool = Field(description="In the answer to a submission: an earlier job makes, or has made, the same.")
    staged_until: datetime | None = Field(
        description="Of a job that failed: before that a retry keeps the units that are done; afterwards, and where it "
        "is null, they are made again."
    )
    plan: PlanView | None
    outputs: list[OutputView] = Field(description="One for each λ, in the order of the spec.")

    @classmethod
    def of(
        cls,
        job: Job,
        outputs: Sequence[Output],
        progress: Progress,
        now: datetime,
        *,
        is_reused: bool = False,
        requires_approval: bool = False,
    ) -> Self:
        """Show a job with its outputs as they stand at `now`."""
        return cls(
            id=job.id,
            state=job.state,
            phase=job.phase,
            spec=job.spec,
            spec_digest=job.spec_digest,
            created_at=job.created_at,
            updated_at=job.updated_at,
            started_at=job.started_at,
            merging_at=job.merging_at,
            cancel_requested_at=job.cancel_requested_at,
            finished_at=job.finished_at,
            deadline_at=job.deadline_at,
            submitted_by=job.submitted_by,
            requires_approval=requires_approval,
            reused=is_reused,
            staged_until=job.staged_until,
            progress=ProgressView.of(job, progress, now),
            plan=None if job.public_plan is None else PlanView.model_validate(job.public_plan),
            outputs=[OutputView.of(output) for output in outputs],
            error=_error(job.error),
            links=LinksView.of(job),
        )


class JobSummaryView(_JobFacts):
    """One job as a list shows it; `links.self` tells the rest: plan, files with digests, figures, warnings."""

    outputs: list[OutputSummaryView] = Field(description="One for each λ, in the order of the spec.")

    @classmethod
    def of(cls, job: Job, outputs: Sequence[OutputSummary], progress: Progress, now: datetime) -> Self:
        """Show a job as it stands at `now`."""
        return cls(
            id=job.id,
            state=job.state,
            phase=job.phase,
            spec=job.spec,
            created_at=job.created_at,
            updated_at=job.updated_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            submitted_by=job.submitted_by,
            progress=ProgressView.of(job, progress, now),
            outputs=[
                OutputSummaryView(
                    position=each.position,
                    lam=each.lam,
                    name=each.name,
                    state=each.state,
                    approval=each.approval,
                    uri=each.uri,
                    ended_at=each.ended_at,
                )
                for each in outputs
            ],
            error=_error(job.error),
            links=LinksView.of(job),
        )


class JobListView(View):
    """One page of jobs, newest first."""

    items: list[JobSummaryView]
    next: str | None = Field(description="Give it as `page` for the next page; null on the last.")


class HealthView(View):
    """The process is up, or everything it needs is."""

    status: Literal["ok", "ready"]


def _figures(told: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in told.items() if name != "warnings"} or None


def _error(record: dict[str, Any] | None) -> ErrorView | None:
    return None if record is None else ErrorView.model_validate(record)
