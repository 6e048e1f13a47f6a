"""The answers of the REST API, as far as this client reads them; fields it does not know are kept for `--json`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """Return the answer as the service gave it."""
        return self.model_dump(mode="json", by_alias=True)


class Progress(_View):
    """How far a job's streaming is, in output bytes over all λ; both 0 before there is a plan."""

    bytes_done: int = 0
    bytes_total: int = 0
    rate_bytes_per_second: float | None = None
    eta_seconds: float | None = None


class OutputFile(_View):
    """One file of an output; `sha256` is bare hex or `sha256:<hex>`."""

    name: str
    size_bytes: int
    sha256: str


class ErrorView(_View):
    """What ended a job or an output."""

    code: str
    message: str


class OutputView(_View):
    """The checkpoint of one λ."""

    lam: float = Field(alias="lambda")
    name: str
    state: str
    uri: str | None = None
    files: tuple[OutputFile, ...] = ()
    figures: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    error: ErrorView | None = None


class JobView(_View):
    """One job."""

    id: str
    state: str
    phase: str | None = None
    spec: dict[str, Any]
    created_at: str
    reused: bool = False
    progress: Progress = Progress()
    outputs: tuple[OutputView, ...] = ()
    error: ErrorView | None = None


class JobPage(_View):
    """Some jobs, newest first; `next` is what to give as `before` for more."""

    items: tuple[JobView, ...]
    next: str | None = None


class KeyView(_View):
    """One API key; `secret` in the answer that made it only."""

    name: str
    scopes: tuple[str, ...]
    max_jobs: int | None = None
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    secret: str | None = None


class KeyList(_View):
    """All keys, by name."""

    items: tuple[KeyView, ...]


class PlannedException(_View):
    """One tensor that is not plainly interpolated."""

    tensor: str
    action: str
    reason: str


class PlannedOutput(_View):
    """One output of a dry run."""

    lam: float = Field(alias="lambda")
    name: str


class Estimate(_View):
    """How long a job may take."""

    seconds: float
    rate_bytes_per_second: float
    measured_jobs: int


class Obstacle(_View):
    """One thing a submission would be refused for."""

    code: str
    message: str
    details: dict[str, Any] = {}


class PlanReport(_View):
    """What a submission would do."""

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
    read_bytes: int
    write_bytes_per_output: int
    write_bytes: int
    scratch_bytes: int | None = None
    estimate: Estimate | None = None
