"""Jobs as the service answers them, every field of them typed."""

from datetime import datetime
from typing import Any, Self

from pydantic import Field

from crossfade_client.answer import View
from crossfade_client.spec_view import SpecView
from crossfade_core.approval import is_waiting, waits_only
from crossfade_core.errors import Reported
from crossfade_core.job import TERMINAL, Approval, JobState, OutputState


class Progress(View):
    """How far a job's streaming is, in output bytes over all λ and in units; all 0 before there is a plan."""

    bytes_done: int = 0
    bytes_total: int = 0
    units_done: int = 0
    units_total: int = 0
    rate_bytes_per_second: float | None = None
    eta_seconds: float | None = None


class ShardView(View):
    """One safetensors file of every output."""

    file: str
    size_bytes: int


class PlanView(View):
    """The plan in a few numbers: tensors by what happens to them and by dtype, the shards of each output, its cost."""

    tensors: int
    actions: dict[str, int]
    out_dtypes: dict[str, int]
    shards: tuple[ShardView, ...]
    sources: dict[str, str]
    read_bytes: int
    write_bytes_per_output: int


class OutputFile(View):
    """One file of an output; `sha256` is bare hex."""

    name: str
    size_bytes: int
    sha256: str


class ErrorView(View):
    """What ended a job or an output; `code` is stable, `blame` is user, upstream or service."""

    code: str
    message: str
    blame: str = "service"
    retryable: bool = False
    details: dict[str, Any] = Field(default_factory=dict)


class FiguresView(View):
    """What one λ really did to the whole output; None where there is nothing to divide by, or no finite number."""

    method: str
    requested: float
    realised: float | None = None
    relative_delta_norm: float | None = None
    unchanged_share: float | None = None
    rounding_error: float | None = None
    base_non_finite: tuple[int, int] = (0, 0)
    instruct_non_finite: tuple[int, int] = (0, 0)
    overflowed: int = 0


class OutputSummary(View):
    """The checkpoint of one λ as a list shows it."""

    position: int = 0
    lam: float = Field(alias="lambda")
    name: str
    state: OutputState
    approval: Approval = Approval.PENDING
    uri: str | None = None
    ended_at: datetime | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it is STAGED until somebody decides."""
        return is_waiting(self)


class OutputView(OutputSummary):
    """The checkpoint of one λ: `uri` once it is published; `files`, `size_bytes`, `figures` also while it is staged.

    Who decided about it, why and when: `decided_by`, `approval_reason`, `decided_at`.
    """

    approval_reason: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    staged_at: datetime | None = None
    size_bytes: int | None = None
    files: tuple[OutputFile, ...] = ()
    figures: FiguresView | None = None
    warnings: tuple[str, ...] = ()
    error: ErrorView | None = None


class LinksView(View):
    """Where to go from a job; paths on its service."""

    self: str
    events: str
    cancel: str
    retry: str


class JobSummary(View):
    """One job as a list shows it; `Client.get` tells the rest."""

    id: str
    state: JobState
    phase: str
    spec: SpecView
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    submitted_by: str | None = None
    progress: Progress = Progress()
    outputs: tuple[OutputSummary, ...] = ()
    error: ErrorView | None = None
    links: LinksView


class JobView(JobSummary):
    """One job: what was asked, where it stands, what came of it."""

    spec_digest: str
    merging_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    deadline_at: datetime | None = None
    requires_approval: bool = False
    reused: bool = False
    staged_until: datetime | None = None
    plan: PlanView | None = None
    outputs: tuple[OutputView, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether it stays as it is, unless it is retried."""
        return self.state in TERMINAL

    @property
    def waits_for_approval(self) -> bool:
        """Whether nothing goes on before somebody approves or rejects one of its outputs."""
        return self.state is JobState.RUNNING and waits_only(self.outputs)

    @property
    def has_succeeded(self) -> bool:
        """Whether every output is published."""
        return self.state is JobState.SUCCEEDED

    def require_success(self) -> Self:
        """Return the job if every output of it is published.

        Raises:
            Reported: It ended otherwise, with the job's own error where it has one; or it has not ended.
        """
        if self.has_succeeded:
            return self
        is_cancelled = self.state in (JobState.CANCELLED, JobState.CANCELLING)
        ended = "was cancelled" if is_cancelled else f"{'ended' if self.has_ended else 'is still'} {self.state}"
        if self.error is not None:
            raise Reported(f"job {self.id} {ended}: {self.error.message}", self.error.as_json())
        failed = [f"λ = {output.lam!r}: {output.error.message}" for output in self.outputs if output.error]
        message = "; ".join([f"job {self.id} {ended}", *failed])
        raise Reported(message, {"code": self.state.lower(), "message": message})


class JobPage(View):
    """Some jobs, newest first; `next` is what to give as `page` for more."""

    items: tuple[JobSummary, ...]
    next: str | None = None
