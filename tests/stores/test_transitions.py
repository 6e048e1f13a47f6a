"""The store moves a job exactly as the one table of transitions says, whatever it is asked in whatever order."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossfade_core.errors import IllegalTransition
from crossfade_core.job import TERMINAL, TRANSITIONS, JobState, Phase

WAYS_TO = {
    JobState.QUEUED: [],
    JobState.RUNNING: [JobState.RUNNING],
    JobState.CANCELLING: [JobState.RUNNING, JobState.CANCELLING],
    JobState.SUCCEEDED: [JobState.RUNNING, JobState.SUCCEEDED],
    JobState.PARTIALLY_SUCCEEDED: [JobState.RUNNING, JobState.PARTIALLY_SUCCEEDED],
    JobState.FAILED: [JobState.FAILED],
    JobState.CANCELLED: [JobState.CANCELLED],
}


@pytest.mark.parametrize("state", JobState)
def test_every_illegal_transition_is_refused_and_changes_nothing(store, spec, state):
    job = store.create_job(spec)
    for step in WAYS_TO[state]:
        store.move_job(job.id, step, phase=Phase.PLANNING)
    before = store.get_job(job.id), store.list_outputs(job.id), store.list_events(job.id)
    for target in set(JobState) - TRANSITIONS[state]:
        with pytest.raises(IllegalTransition, match=f"{state} cannot become {target}"):
            store.move_job(job.id, target, phase=Phase.DONE, error={"code": "x"})
    assert (store.get_job(job.id), store.list_outputs(job.id), store.list_events(job.id)) == before


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(wishes=st.lists(st.sampled_from(JobState), max_size=8))
def test_a_walk_of_any_wishes_stays_on_the_table_and_its_history_has_no_gap(store, spec, wishes):
    job = store.create_job(spec)
    walked = [job.state]
    for wish in wishes:
        if wish in TRANSITIONS[walked[-1]]:
            assert store.move_job(job.id, wish, phase=Phase.PLANNING).state is wish
            walked.append(wish)
        else:
            with pytest.raises(IllegalTransition):
                store.move_job(job.id, wish, phase=Phase.PLANNING)
    events = store.list_events(job.id)
    assert [event.type for event in events] == [f"job.{state.lower()}" for state in walked]
    assert [event.sequence for event in events] == list(range(1, len(walked) + 1))
    end = store.get_job(job.id)
    assert end.state is walked[-1]
    assert (end.finished_at is not None) == (end.state in TERMINAL)
    assert (end.started_at is not None) == (JobState.RUNNING in walked)
