"""Leases: one holder at a time, the newest fence alone may write, a dead holder's unit comes free."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from crossfade_core.errors import JobCancelled, LeaseLost
from crossfade_core.job import JobId, JobState, Phase, Progress, Unit, UnitId, UnitState
from tests.fakes.clock import FakeClock

RunningJob = Callable[..., tuple[JobId, list[Unit]]]
LEASE = 30.0


def unit_of(store, job_id: JobId, position: int = 0) -> Unit:
    return store.list_units(job_id)[position]


def test_a_claim_returns_the_unit_as_it_is_stored(store, running_job: RunningJob):
    job_id, (unit,) = running_job(1)
    leased = store.claim_unit(unit.id, "worker-1", LEASE)
    assert (leased.state, leased.fence, leased.lease_owner, leased.shard) == (
        UnitState.RUNNING,
        1,
        "worker-1",
        unit.shard,
    )
    assert unit_of(store, job_id) == leased


def test_a_leased_unit_is_claimed_by_nobody_else(store, running_job: RunningJob, clock: FakeClock):
    _, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    clock.advance(LEASE - 0.001)
    assert store.claim_unit(unit.id, "w2", LEASE) is None
    assert store.claim_unit(unit.id, "w1", LEASE) is None


def test_an_expired_lease_goes_to_the_next_claimer_under_a_higher_fence(store, running_job: RunningJob, clock):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    store.renew_lease(unit.id, 1, LEASE, bytes_done=60)
    clock.advance(LEASE)
    leased = store.claim_unit(unit.id, "w2", LEASE)
    assert (leased.fence, leased.lease_owner, leased.bytes_done) == (2, "w2", 0)
    assert store.progress(job_id) == Progress(0, 100, 0, 1)


def test_a_done_unit_and_an_unknown_unit_are_not_claimed(store, running_job: RunningJob, clock: FakeClock):
    _, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    store.complete_unit(unit.id, 1, {})
    clock.advance(1000)
    assert store.claim_unit(unit.id, "w2", LEASE) is None
    assert store.claim_unit(UnitId("unit-0"), "w2", LEASE) is None


@pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.FAILED, JobState.SUCCEEDED])
def test_a_unit_of_a_job_that_is_not_running_is_not_claimed(store, running_job: RunningJob, state):
    job_id, (unit,) = running_job(1)
    store.move_job(job_id, state, phase=Phase.CLEANING)
    assert store.claim_unit(unit.id, "w", LEASE) is None
    assert unit_of(store, job_id) == unit


def test_renewing_extends_the_lease_and_notes_progress(store, running_job: RunningJob, clock: FakeClock):
    job_id, (unit, _) = running_job(2)
    store.claim_unit(unit.id, "w1", LEASE)
    clock.advance(LEASE - 1)
    store.renew_lease(unit.id, 1, LEASE, bytes_done=40)
    clock.advance(LEASE - 1)
    assert store.claim_unit(unit.id, "w2", LEASE) is None
    assert store.live_leases(job_id) == 1
    assert store.progress(job_id) == Progress(40, 200, 0, 2)


def test_a_late_holder_may_renew_as_long_as_nobody_else_claimed(store, running_job: RunningJob, clock: FakeClock):
    _, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    clock.advance(10 * LEASE)
    store.renew_lease(unit.id, 1, LEASE, bytes_done=40)
    assert store.claim_unit(unit.id, "w2", LEASE) is None


def test_a_stale_fence_can_neither_renew_nor_complete(store, running_job: RunningJob, clock: FakeClock):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    clock.advance(LEASE)
    leased = store.claim_unit(unit.id, "w2", LEASE)
    with pytest.raises(LeaseLost, match="fence 1"):
        store.renew_lease(unit.id, 1, LEASE, bytes_done=1)
    with pytest.raises(LeaseLost, match="fence 1"):
        store.complete_unit(unit.id, 1, {"late": True})
    store.release_unit(unit.id, 1)
    assert unit_of(store, job_id) == leased


def test_a_unit_that_is_not_running_has_no_lease_to_renew(store, running_job: RunningJob):
    _, (done, free) = running_job(2)
    store.claim_unit(done.id, "w", LEASE)
    store.complete_unit(done.id, 1, {})
    for unit_id, fence in ((done.id, 1), (free.id, 0), (UnitId("unit-0"), 1)):
        with pytest.raises(LeaseLost):
            store.renew_lease(unit_id, fence, LEASE, bytes_done=0)
        with pytest.raises(LeaseLost):
            store.complete_unit(unit_id, fence, {})


@pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.FAILED])
def test_renewing_tells_that_the_job_left_running(store, running_job: RunningJob, state):
    job_id, (unit,) = running_job(1)
    leased = store.claim_unit(unit.id, "w", LEASE)
    store.move_job(job_id, state, phase=Phase.CLEANING)
    with pytest.raises(JobCancelled, match="no longer RUNNING"):
        store.renew_lease(unit.id, 1, LEASE, bytes_done=50)
    assert unit_of(store, job_id) == leased


def test_completing_counts_down_to_zero(store, running_job: RunningJob):
    job_id, units = running_job(3)
    remaining = []
    for unit in units:
        store.claim_unit(unit.id, "w", LEASE)
        remaining.append(store.complete_unit(unit.id, 1, {"sha256": f"{unit.position}"}))
    assert remaining == [2, 1, 0]
    assert store.progress(job_id) == Progress(300, 300, 3, 3)
    assert [unit.result for unit in store.list_units(job_id)] == [{"sha256": "0"}, {"sha256": "1"}, {"sha256": "2"}]
    assert {(unit.lease_owner, unit.lease_expires_at) for unit in store.list_units(job_id)} == {(None, None)}
    done = [event.data for event in store.list_events(job_id) if event.type == "unit.done"]
    assert done == [{"position": 0, "remaining": 2}, {"position": 1, "remaining": 1}, {"position": 2, "remaining": 0}]


def test_a_unit_is_completed_once(store, running_job: RunningJob):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w", LEASE)
    store.complete_unit(unit.id, 1, {"first": True})
    with pytest.raises(LeaseLost):
        store.complete_unit(unit.id, 1, {"first": False})
    assert unit_of(store, job_id).result == {"first": True}


def test_nothing_is_added_to_the_history_of_a_job_that_has_ended(store, running_job: RunningJob):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w", LEASE)
    store.move_job(job_id, JobState.FAILED, phase=Phase.DONE)
    with pytest.raises(LeaseLost):
        store.complete_unit(unit.id, 1, {})
    store.publish_output(job_id, 0, "file:///late", {})
    store.fail_output(job_id, 0, {})
    store.set_phase(job_id, Phase.PUBLISHING)
    assert store.list_events(job_id)[-1].type == "job.failed"


def test_a_released_unit_is_free_at_once(store, running_job: RunningJob):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    store.release_unit(unit.id, 1)
    released = unit_of(store, job_id)
    assert (released.state, released.lease_owner, released.lease_expires_at) == (UnitState.PENDING, None, None)
    assert store.live_leases(job_id) == 0
    assert store.claim_unit(unit.id, "w2", LEASE).fence == 2


def test_a_released_unit_counts_as_neither_failed_nor_lost(store, running_job: RunningJob):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    store.release_unit(unit.id, 1)
    assert (unit_of(store, job_id).failures, unit_of(store, job_id).deaths) == (0, 0)


def test_a_failed_unit_waits_and_is_found_once_when_it_is_due(store, running_job: RunningJob, clock: FakeClock):
    job_id, (unit, _) = running_job(2)
    store.claim_unit(unit.id, "w1", LEASE)
    store.fail_unit(unit.id, 1, 20, {"code": "source_unavailable"})
    waiting = unit_of(store, job_id)
    assert (waiting.state, waiting.failures, waiting.lease_owner) == (UnitState.PENDING, 1, None)
    assert waiting.not_before == clock.now() + timedelta(seconds=20)
    clock.advance(19)
    assert store.claim_unit(unit.id, "w2", LEASE) is None
    assert store.due_units() == []
    clock.advance(1)
    assert [due.id for due in store.due_units()] == [unit.id]
    assert store.due_units() == []
    claimed = store.claim_unit(unit.id, "w2", LEASE)
    assert (claimed.fence, claimed.failures, claimed.deaths, claimed.not_before) == (2, 1, 0, None)
    (event,) = [event for event in store.list_events(job_id) if event.type == "unit.failed"]
    assert event.data == {"position": 0, "failures": 1, "wait_seconds": 20, "error": {"code": "source_unavailable"}}


def test_a_unit_that_is_due_may_be_claimed_before_it_is_found(store, running_job: RunningJob, clock: FakeClock):
    _, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    store.fail_unit(unit.id, 1, 20, {})
    clock.advance(20)
    assert store.claim_unit(unit.id, "w2", LEASE).fence == 2
    assert store.due_units() == []


def test_units_of_a_job_that_left_running_are_not_due(store, running_job: RunningJob, clock: FakeClock):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    store.fail_unit(unit.id, 1, 20, {})
    store.move_job(job_id, JobState.CANCELLING, phase=Phase.CLEANING)
    clock.advance(20)
    assert store.due_units() == []


def test_a_stale_fence_cannot_fail_a_unit_nor_can_anybody_in_a_job_that_has_ended(store, running_job, clock):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    clock.advance(LEASE)
    leased = store.claim_unit(unit.id, "w2", LEASE)
    store.fail_unit(unit.id, 1, 20, {})
    assert unit_of(store, job_id) == leased
    store.move_job(job_id, JobState.FAILED, phase=Phase.DONE)
    store.fail_unit(unit.id, 2, 20, {})
    assert unit_of(store, job_id) == leased
    assert store.list_events(job_id)[-1].type == "job.failed"


@pytest.mark.parametrize("finder", ["claimer", "sweep"])
def test_a_holder_that_fell_silent_is_counted_once(store, running_job: RunningJob, clock: FakeClock, finder):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    clock.advance(LEASE)
    if finder == "sweep":
        assert store.expire_unit(unit.id, 1)
        assert not store.expire_unit(unit.id, 1)
        assert store.list_events(job_id)[-1].data == {"position": 0, "deaths": 1}
    assert store.claim_unit(unit.id, "w2", LEASE).deaths == 1
    assert not store.expire_unit(unit.id, 1)
    assert unit_of(store, job_id).deaths == 1


def test_a_holder_that_renewed_meanwhile_keeps_its_unit(store, running_job: RunningJob, clock: FakeClock):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w1", LEASE)
    clock.advance(LEASE)
    (expired,) = store.expired_units()
    store.renew_lease(unit.id, 1, LEASE, bytes_done=1)
    assert not store.expire_unit(expired.id, expired.fence)
    assert not store.expire_unit(UnitId("unit-0"), 1)
    assert (unit_of(store, job_id).state, unit_of(store, job_id).deaths) == (UnitState.RUNNING, 0)


def test_a_done_unit_is_not_released(store, running_job: RunningJob):
    job_id, (unit,) = running_job(1)
    store.claim_unit(unit.id, "w", LEASE)
    store.complete_unit(unit.id, 1, {})
    store.release_unit(unit.id, 1)
    assert unit_of(store, job_id).state is UnitState.DONE


def test_live_leases_counts_only_those_that_have_not_expired(store, running_job: RunningJob, clock: FakeClock):
    job_id, units = running_job(3)
    store.claim_unit(units[0].id, "w1", 10)
    store.claim_unit(units[1].id, "w2", 20)
    assert store.live_leases(job_id) == 2
    clock.advance(10)
    assert store.live_leases(job_id) == 1
    clock.advance(10)
    assert store.live_leases(job_id) == 0


def test_expired_units_are_those_of_running_jobs_longest_dead_first(store, running_job: RunningJob, clock: FakeClock):
    _, units = running_job(3)
    cancelled_id, (cancelled,) = running_job(1)
    store.claim_unit(units[0].id, "w1", 20)
    store.claim_unit(units[1].id, "w2", 10)
    store.claim_unit(cancelled.id, "w3", 10)
    store.move_job(cancelled_id, JobState.CANCELLING, phase=Phase.CLEANING)
    assert store.expired_units() == []
    clock.advance(10)
    assert [unit.id for unit in store.expired_units()] == [units[1].id]
    clock.advance(10)
    assert [unit.id for unit in store.expired_units()] == [units[1].id, units[0].id]
    assert [unit.id for unit in store.expired_units(limit=1)] == [units[1].id]
    store.claim_unit(units[1].id, "w4", 10)
    assert [unit.id for unit in store.expired_units()] == [units[0].id]


def test_jobs_of_one_priority_take_turns_by_what_is_under_way(store, running_job: RunningJob):
    _, large = running_job(4)
    _, small = running_job(2)
    assert store.more_urgent_unit(large[0].id) is None
    store.claim_unit(large[0].id, "w1", LEASE)
    assert store.more_urgent_unit(large[1].id) == small[0].id
    assert store.more_urgent_unit(small[0].id) is None
    store.claim_unit(small[0].id, "w2", LEASE)
    assert store.more_urgent_unit(large[1].id) is None
    store.claim_unit(large[1].id, "w3", LEASE)
    assert store.more_urgent_unit(large[2].id) == small[1].id
    store.complete_unit(large[0].id, 1, {})
    assert store.more_urgent_unit(large[2].id) is None


def test_higher_priority_comes_first_whatever_is_under_way(store, running_job: RunningJob):
    _, (usual, _) = running_job(2)
    _, (low,) = running_job(1, priority=-1)
    _, high = running_job(2, priority=7)
    for unit in (usual, low):
        assert store.more_urgent_unit(unit.id) == high[0].id
    store.claim_unit(high[0].id, "w1", LEASE)
    assert store.more_urgent_unit(usual.id) == high[1].id
    store.claim_unit(high[1].id, "w2", LEASE)
    assert store.more_urgent_unit(usual.id) is None
    assert store.more_urgent_unit(low.id) == usual.id


def test_what_cannot_be_begun_is_not_urgent(store, running_job: RunningJob, clock: FakeClock):
    _, (unit, _) = running_job(2)
    waiting_id, (waiting,) = running_job(1, priority=1)
    store.claim_unit(waiting.id, "w", LEASE)
    store.fail_unit(waiting.id, 1, 20, {})
    assert store.more_urgent_unit(unit.id) is None
    clock.advance(20)
    assert store.more_urgent_unit(unit.id) == waiting.id
    store.move_job(waiting_id, JobState.CANCELLING, phase=Phase.CLEANING)
    assert store.more_urgent_unit(unit.id) is None
    assert store.more_urgent_unit(UnitId("unit-0")) is None
