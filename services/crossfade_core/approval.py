"""Decisions about outputs: the ONE table of what may be decided when, and what waits. Never stores, never sends.

A decision is a mark beside the output's state. Where the destination requires approval it is what publishes a STAGED
output, or fails it; about a PUBLISHED one it is for others to act on: it takes nothing back from the registry.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from crossfade_core.errors import IllegalTransition, LineageDiffers, OutputRejected
from crossfade_core.job import Approval, JobState, Output, OutputState
from crossfade_core.own_files import LINEAGE_FILE

MAX_REASON_CHARACTERS: Final = 1000

_EITHER: Final = frozenset({Approval.APPROVED, Approval.REJECTED})
_NEITHER: Final[frozenset[Approval]] = frozenset()

DECISIONS: Final[dict[OutputState, dict[Approval, frozenset[Approval]]]] = {
    OutputState.PENDING: {},
    OutputState.STAGED: {Approval.PENDING: _EITHER, Approval.APPROVED: _NEITHER},
    OutputState.PUBLISHED: dict.fromkeys(Approval, _EITHER),
    OutputState.FAILED: {},
    OutputState.CANCELLED: {},
}
"""What may be decided, by where the output stands and what was decided before; nothing where there is no row."""

_INSTEAD: Final = {
    OutputState.PENDING: "is not made yet: decide once it is STAGED or PUBLISHED, or cancel the job",
    OutputState.STAGED: "is approved and about to be published: reject it afterwards, or cancel the job",
    OutputState.FAILED: "has failed and nothing is left of it: retry the job, and decide about what it makes",
    OutputState.CANCELLED: "was cancelled and nothing is left of it: submit the job again",
}


@dataclass(frozen=True)
class Decision:
    """What a caller decides about an output.

    Attributes:
        approval: APPROVED or REJECTED.
        by: The caller's name.
        reason: Why; a rejection has one.
        lineage_sha256: What its lineage.json must be, so that what is decided about is what was looked at.
    """

    approval: Approval
    by: str
    reason: str | None = None
    lineage_sha256: str | None = None


def check_decision(output: Output, job_state: JobState, decision: Decision) -> bool:
    """Tell whether a decision changes anything: the same with the same reason, sent again, does not.

    Raises:
        IllegalTransition: There is nothing to decide about, or it is decided and being carried out.
        LineageDiffers: It is about another content.
    """
    is_same_content = decision.lineage_sha256 in (None, lineage_digest(output))
    if is_same_content and (output.approval, output.approval_reason) == (decision.approval, decision.reason):
        return False
    may_follow = DECISIONS[output.state].get(output.approval, _NEITHER)
    is_closing = output.state is OutputState.STAGED and job_state is not JobState.RUNNING
    if decision.approval not in may_follow or is_closing:
        why = f"is {output.state} and its job {job_state}" if is_closing else _INSTEAD[output.state]
        raise IllegalTransition(
            f"output {output.position} (λ = {output.lam!r}) cannot become {decision.approval}: it {why}",
            state=output.state,
            approval=output.approval,
            wanted=decision.approval,
        )
    if not is_same_content:
        raise LineageDiffers(
            f"output {output.position} (λ = {output.lam!r}): {LINEAGE_FILE} is of sha256 {lineage_digest(output)}, the "
            f"decision is about {decision.lineage_sha256}; look at it again",
            expected=decision.lineage_sha256,
            found=lineage_digest(output),
        )
    return True


def lineage_digest(output: Output) -> str | None:
    """Return the SHA-256 of an output's lineage.json, which has that of every other file; None before it is staged."""
    about = output.files.get(LINEAGE_FILE)
    return None if about is None else str(about["sha256"])


def rejection(output: Output, decision: Decision) -> OutputRejected:
    """Return what ends a STAGED output that is rejected."""
    return OutputRejected(
        f"output {output.position} (λ = {output.lam!r}) was rejected by {decision.by}: {decision.reason}",
        by=decision.by,
        reason=decision.reason,
    )


class Decidable(Protocol):
    """What tells whether an output waits: the store's record of it, or a client's."""

    @property
    def state(self) -> OutputState: ...

    @property
    def approval(self) -> Approval: ...


def is_waiting(output: Decidable) -> bool:
    """Tell whether an output waits for a decision."""
    return output.state is OutputState.STAGED and output.approval is Approval.PENDING


def has_to_be_worked_on(output: Decidable) -> bool:
    """Tell whether an output is still to be staged, or approved and still to be published."""
    return output.state is OutputState.PENDING or (output.state is OutputState.STAGED and not is_waiting(output))


def waits_only(outputs: Iterable[Decidable]) -> bool:
    """Tell whether nothing can be done about a job's outputs before somebody decides."""
    found = list(outputs)
    return any(is_waiting(output) for output in found) and not any(has_to_be_worked_on(output) for output in found)
