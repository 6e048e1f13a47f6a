"""A dry run as the service answers it."""

from typing import Any

from pydantic import Field

from crossfade_client.answer import View


class PlannedException(View):
    """One tensor that is not plainly interpolated."""

    tensor: str
    action: str
    reason: str


class PlannedOutput(View):
    """One output of a dry run."""

    lam: float = Field(alias="lambda")
    name: str


class Estimate(View):
    """How long a job may take, by what jobs have measured."""

    seconds: float
    rate_bytes_per_second: float
    measured_jobs: int


class Obstacle(View):
    """One thing a submission would be refused for."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class PlanReport(View):
    """What a submission would do; nothing was stored."""

    accepted: bool
    obstacles: tuple[Obstacle, ...]
    job: str | None = None
    sources: dict[str, str]
    tensors: int
    actions: dict[str, int]
    out_dtypes: dict[str, int]
    shards: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    exceptions: tuple[PlannedException, ...]
    exception_count: int
    outputs: tuple[PlannedOutput, ...]
    requires_approval: bool = False
    read_bytes: int
    write_bytes_per_output: int
    write_bytes: int
    scratch_bytes: int | None = None
    estimate: Estimate | None = None
