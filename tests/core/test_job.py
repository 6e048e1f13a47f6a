"""A job moves along one table, ends exactly once, and a cancel leads to an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.errors import IllegalTransition
from crossfade_core.job import TERMINAL, TRANSITIONS, JobState, check_retry, check_transition, state_on_cancel

LEGAL = {
    ("QUEUED", "RUNNING"),
    ("QUEUED", "FAILED"),
    ("QUEUED", "CANCELLED"),
    ("RUNNING", "SUCCEEDED"),
    ("RUNNING", "PARTIALLY_SUCCEEDED"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "CANCELLING"),
    ("CANCELLING", "CANCELLED"),
}
ALL_PAIRS = [(old, new) for old in JobState for new in JobState]


def test_table_has_a_row_for_every_state():
    assert set(TRANSITIONS) == set(JobState)


@pytest.mark.parametrize(("old", "new"), ALL_PAIRS)
def test_every_pair_of_states_is_joined_or_refused_as_written_here(old, new):
    if (old, new) in LEGAL:
        check_transition(old, new)
        return
    with pytest.raises(IllegalTransition, match=f"{old} cannot become {new}") as caught:
        check_transition(old, new)
    assert caught.value.details == {"state": old, "wanted": new}


def test_refusal_says_what_is_possible_instead():
    with pytest.raises(IllegalTransition, match=r"can become CANCELLED$"):
        check_transition(JobState.CANCELLING, JobState.SUCCEEDED)
    with pytest.raises(IllegalTransition, match="it is final"):
        check_transition(JobState.SUCCEEDED, JobState.CANCELLING)


def test_four_states_are_terminal():
    assert {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"} == TERMINAL


def test_every_state_but_queued_can_be_reached_and_every_one_can_end():
    reached = {JobState.QUEUED}
    for _ in JobState:
        reached |= {new for old in reached for new in TRANSITIONS[old]}
    assert reached == set(JobState)
    ending = set(TERMINAL)
    for _ in JobState:
        ending |= {old for old in JobState if TRANSITIONS[old] & ending}
    assert ending == set(JobState)


@given(st.lists(st.sampled_from(JobState), max_size=40))
def test_whatever_is_asked_of_it_a_job_ends_at_most_once_and_stays_ended(wishes):
    state, ends = JobState.QUEUED, 0
    for wish in wishes:
        was_terminal = state in TERMINAL
        try:
            check_transition(state, wish)
        except IllegalTransition:
            continue
        assert not was_terminal
        state = wish
        ends += state in TERMINAL
    assert ends == (state in TERMINAL)


@given(st.lists(st.sampled_from(JobState), max_size=40))
def test_once_cancelling_a_job_can_only_become_cancelled(wishes):
    state = JobState.CANCELLING
    for wish in wishes:
        if wish in TRANSITIONS[state]:
            state = wish
    assert state in (JobState.CANCELLING, JobState.CANCELLED)


@pytest.mark.parametrize("state", JobState)
def test_only_a_job_that_failed_can_be_retried(state):
    if state in (JobState.FAILED, JobState.PARTIALLY_SUCCEEDED):
        check_retry(state)
        return
    with pytest.raises(IllegalTransition, match=f"{state} cannot be retried; .* FAILED or PARTIALLY_SUCCEEDED"):
        check_retry(state)


@pytest.mark.parametrize(
    ("state", "onward"), [(JobState.QUEUED, JobState.CANCELLED), (JobState.RUNNING, JobState.CANCELLING)]
)
def test_cancel_of_a_living_job_leads_along_the_table(state, onward):
    assert state_on_cancel(state) is onward
    check_transition(state, onward)


@pytest.mark.parametrize("state", [*sorted(TERMINAL), JobState.CANCELLING])
def test_cancel_of_a_job_that_has_ended_or_is_being_cancelled_is_no_transition(state):
    with pytest.raises(IllegalTransition):
        check_transition(state, state_on_cancel(state))
