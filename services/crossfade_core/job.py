"""The life of a job: its states, the one table of legal transitions, and the records the store keeps.

Ordering rules held here: a job leaves QUEUED by being planned, refused or cancelled; it ends exactly once, unless it
failed and is retried; CANCELLING can only become CANCELLED (a job that finished first refuses the cancel). `phase`
tells where inside RUNNING a job is and never decides anything that `state` should.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NewType

from crossfade_core.errors import IllegalTransition
from crossfade_core.spec import MergeSpec

JobId = NewType("JobId", str)
UnitId = NewType("UnitId", str)


class JobState(StrEnum):
    """Where a job stands; the last four of its life end it."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    PARTIALLY_SUCCEEDED = "PARTIALLY_SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Phase(StrEnum):
    """Where inside its state a job is, for people and progress bars."""

    WAITING = "waiting"
    PLANNING = "planning"
    MERGING = "merging"
    PUBLISHING = "publishing"
    APPROVING = "approving"
    CLEANING = "cleaning"
    DONE = "done"


class OutputState(StrEnum):
    """Where the checkpoint of one λ stands; FAILED becomes PENDING again when the job is retried.

    STAGED is whole, signed and seen by nobody: its destination publishes on approval only.
    """

    PENDING = "PENDING"
    STAGED = "STAGED"
    PUBLISHED = "PUBLISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Approval(StrEnum):
    """What somebody has decided about an output, apart from where it stands; see `crossfade_core.approval`."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class UnitState(StrEnum):
    """Where a unit stands; RUNNING means leased, and back to PENDING when its holder gives it up."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"


_S = JobState

TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.PARTIALLY_SUCCEEDED, _S.FAILED, _S.CANCELLING}),
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.PARTIALLY_SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""The one table of legal transitions; a retry alone leads back, from RETRIED to QUEUED."""

TERMINAL: Final = frozenset(state for state, onward in TRANSITIONS.items() if not onward)
ENDINGS: Final = frozenset(f"job.{state.lower()}" for state in TERMINAL)
"""Types of the events that end a job; a retry may follow."""
RETRIED: Final = frozenset({_S.FAILED, _S.PARTIALLY_SUCCEEDED})
"""States from which a job can be retried."""


def check_transition(old: JobState, new: JobState) -> None:
    """Allow a legal transition.

    Raises:
        IllegalTransition: The table does not join `old` to `new`.
    """
    if new not in TRANSITIONS[old]:
        onward = ", ".join(sorted(TRANSITIONS[old])) or "nothing: it is final"
        raise IllegalTransition(
            f"a job in state {old} cannot become {new}; from here it can become {onward}", state=old, wanted=new
        )


def check_retry(state: JobState) -> None:
    """Allow the retry of a job that failed.

    Raises:
        IllegalTransition: It has not.
    """
    if state not in RETRIED:
        raise IllegalTransition(
            f"a job in state {state} cannot be retried; those that are {' or '.join(sorted(RETRIED))} can", state=state
        )


def state_on_cancel(state: JobState) -> JobState:
    """Return the state a cancel leads to: at once when nothing has begun, through CANCELLING when work is under way."""
    return JobState.CANCELLED if state is JobState.QUEUED else JobState.CANCELLING


PRIVATE: Final = "private"
"""Key of a plan summary under which the workers keep what nobody else reads: pinned files, the outputs' index."""


@dataclass(frozen=True)
class Job:
    """One submission. Times are UTC; `error` is `CrossfadeError.as_record()` of what ended it.

    `submitted_by` names the caller's key; `merge_digest` is equal for jobs that make the same (see
    `crossfade_registries.layout.merge_digest`). Until `staged_until` a job that has ended keeps what its
    units have staged; None where nothing is left.
    """

    id: JobId
    state: JobState
    phase: Phase
    spec: MergeSpec
    spec_digest: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    merging_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    submitted_by: str | None = None
    merge_digest: str | None = None
    staged_until: datetime | None = None
    plan_summary: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def public_plan(self) -> dict[str, Any] | None:
        """The plan in numbers, for everybody; None before it is stored."""
        if self.plan_summary is None:
            return None
        return {key: value for key, value in self.plan_summary.items() if key != PRIVATE}


@dataclass(frozen=True)
class Output:
    """The checkpoint of one λ. Once staged or published, `files` maps a file's name to {size_bytes, sha256}.

    `statistics` is what its λ really did: `OutputFigures.as_record()` and `warnings`. `staged_at` is when it became
    STAGED, `ended_at` when it was published, failed or was cancelled. `decided_by` names the caller who gave
    `approval` and `approval_reason`, at `decided_at`. `signatures` are those made for it, in base64, by key and payload
    (`crossfade_worker.kept_signatures`).
    """

    job_id: JobId
    position: int
    lam: float
    name: str
    state: OutputState = OutputState.PENDING
    uri: str | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    statistics: dict[str, Any] | None = None
    staged_at: datetime | None = None
    ended_at: datetime | None = None
    approval: Approval = Approval.PENDING
    approval_reason: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    signatures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputSummary:
    """What a list of jobs tells of an output: where it is, not what it holds."""

    position: int
    lam: float
    name: str
    state: OutputState
    approval: Approval
    uri: str | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Unit:
    """One output shard, every λ of it. `shard` is the shard's plan; `result` its digests once DONE.

    `fence` counts how often the unit was claimed: the fencing token. Only the holder of the newest may write to it.
    `failures` counts attempts that ended with an error, `deaths` those whose holder fell silent; an attempt that was
    given back because its process was told to stop is neither. Nobody claims it before `not_before`.
    `bytes_total` and `bytes_done` count output bytes over all λ.
    """

    id: UnitId
    job_id: JobId
    position: int
    state: UnitState
    shard: dict[str, Any]
    bytes_total: int
    bytes_done: int = 0
    fence: int = 0
    failures: int = 0
    deaths: int = 0
    not_before: datetime | None = None
    lease_owner: str | None = None
    lease_expires_at: datetime | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Event:
    """One line of a job's persisted, ordered history; `sequence` rises within a job, starting at 1."""

    job_id: JobId
    sequence: int
    type: str
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Progress:
    """How far a job's streaming is, in output bytes over all λ; both 0 before the plan is stored."""

    bytes_done: int
    bytes_total: int
    units_done: int
    units_total: int
