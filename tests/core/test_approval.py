"""What may be decided about an output, when, and what waits."""

import itertools

import pytest

from crossfade_core.approval import DECISIONS, Decision, check_decision, lineage_digest, waits_only
from crossfade_core.errors import IllegalTransition, LineageDiffers
from crossfade_core.job import Approval, JobId, JobState, Output, OutputState

DIGEST = "ab" * 32
POSSIBLE = {
    ("STAGED", "PENDING", "APPROVED"),
    ("STAGED", "PENDING", "REJECTED"),
    ("PUBLISHED", "PENDING", "APPROVED"),
    ("PUBLISHED", "PENDING", "REJECTED"),
    ("PUBLISHED", "APPROVED", "APPROVED"),
    ("PUBLISHED", "APPROVED", "REJECTED"),
    ("PUBLISHED", "REJECTED", "APPROVED"),
    ("PUBLISHED", "REJECTED", "REJECTED"),
}
EVERY = list(itertools.product(OutputState, Approval, (Approval.APPROVED, Approval.REJECTED)))


def output(state, approval=Approval.PENDING, **changes):
    files = {} if state is OutputState.PENDING else {"lineage.json": {"size_bytes": 1, "sha256": DIGEST}}
    return Output(JobId("j"), 0, 0.5, "m", state, approval=approval, **{"files": files, **changes})


def decision(approval, reason="new", lineage_sha256=None):
    return Decision(approval, "reviewer", reason, lineage_sha256)


def test_table_has_a_row_for_every_state():
    assert set(DECISIONS) == set(OutputState)


@pytest.mark.parametrize(("state", "before", "wanted"), EVERY)
def test_every_decision_is_possible_or_refused_as_written_here(state, before, wanted):
    decided = output(state, before, approval_reason="old")
    if (state, before, wanted) in POSSIBLE:
        assert check_decision(decided, JobState.RUNNING, decision(wanted))
        return
    with pytest.raises(IllegalTransition, match=rf"output 0 \(λ = 0.5\) cannot become {wanted}") as caught:
        check_decision(decided, JobState.RUNNING, decision(wanted))
    assert caught.value.details == {"state": state, "approval": before, "wanted": wanted}


@pytest.mark.parametrize(
    ("state", "approval"),
    [("PUBLISHED", "APPROVED"), ("PUBLISHED", "REJECTED"), ("STAGED", "APPROVED"), ("FAILED", "REJECTED")],
)
def test_the_same_decision_with_the_same_reason_changes_nothing(state, approval):
    decided = output(OutputState(state), Approval(approval), approval_reason="why")
    for job_state in JobState:
        assert not check_decision(decided, job_state, decision(Approval(approval), "why"))
        assert not check_decision(decided, job_state, decision(Approval(approval), "why", DIGEST))


@pytest.mark.parametrize("job_state", [state for state in JobState if state is not JobState.RUNNING])
def test_staged_output_of_a_job_that_is_ending_cannot_be_decided_about(job_state):
    with pytest.raises(IllegalTransition, match=f"its job {job_state}"):
        check_decision(output(OutputState.STAGED), job_state, decision(Approval.APPROVED))


@pytest.mark.parametrize("before", ["PENDING", "APPROVED"])
def test_decision_about_another_content_is_refused_with_both_digests(before):
    decided = output(OutputState.PUBLISHED, Approval(before), approval_reason="why")
    with pytest.raises(LineageDiffers) as caught:
        check_decision(decided, JobState.SUCCEEDED, decision(Approval.APPROVED, "why", "0" * 64))
    assert caught.value.details == {"expected": "0" * 64, "found": DIGEST}
    assert check_decision(decided, JobState.SUCCEEDED, decision(Approval.APPROVED, "new", DIGEST))


def test_digest_is_none_before_there_is_a_lineage():
    assert lineage_digest(output(OutputState.PENDING)) is None
    assert lineage_digest(output(OutputState.STAGED)) == DIGEST


def test_job_waits_only_where_somebody_must_decide_and_nothing_else_is_to_be_done():
    waiting, approved = output(OutputState.STAGED), output(OutputState.STAGED, Approval.APPROVED)
    ended = [output(state) for state in (OutputState.PUBLISHED, OutputState.FAILED, OutputState.CANCELLED)]
    assert waits_only([waiting, *ended])
    assert not waits_only(ended)
    assert not waits_only([waiting, approved])
    assert not waits_only([waiting, output(OutputState.PENDING)])
    assert not waits_only([])
