"""A unit belongs to one worker at a time, and whoever comes late or stops early does no harm."""

import time

import pytest

from crossfade_core.errors import JobCancelled, LeaseLost, StoreUnavailable
from crossfade_core.job import UnitState
from crossfade_core.messages import PUBLISH, UNIT
from crossfade_worker.lease import UnitLease, control_lease
from crossfade_worker.run_unit import MAX_FAILURES
from tests.worker.deployment import LEASE_SECONDS


@pytest.fixture
def claimed(deployment):
    """A claimed unit of a job with three."""
    _, (unit, *_) = deployment.planned()
    return deployment.store.claim_unit(unit.id, "merge-1", LEASE_SECONDS)


@pytest.fixture
def lease(deployment, claimed):
    return UnitLease(deployment.store, deployment.clock, claimed, LEASE_SECONDS)


MAX_DEATHS = 3


def stored(deployment, unit):
    return next(found for found in deployment.store.list_units(unit.job_id) if found.id == unit.id)


def test_tick_renews_and_notes_progress_at_most_twice_a_second(deployment, claimed, lease):
    noted = []
    for bytes_done in range(1, 8):
        deployment.clock.advance(0.2)
        lease.tick(bytes_done)
        noted.append(stored(deployment, claimed).bytes_done)
    assert noted == [0, 0, 3, 3, 3, 6, 6]


def test_lease_that_is_short_is_renewed_three_times_in_its_length(deployment, claimed):
    lease = UnitLease(deployment.store, deployment.clock, claimed, 1.0)
    for number in (1, 2, 3):
        deployment.clock.advance(0.34)
        lease.tick(number)
        assert stored(deployment, claimed).bytes_done == number


def test_store_that_is_away_is_waited_for_until_the_lease_would_have_run_out(deployment, claimed, lease):
    deployment.store.away = {"renew_lease"}
    for _ in range(3):
        deployment.clock.advance(LEASE_SECONDS / 3)
        lease.tick(1)
    deployment.clock.advance(1)
    with pytest.raises(StoreUnavailable):
        lease.tick(1)


def test_store_that_comes_back_in_time_finds_the_lease_renewed(deployment, claimed, lease):
    deployment.store.away = {"renew_lease"}
    deployment.clock.advance(LEASE_SECONDS - 1)
    lease.tick(1)
    deployment.store.away = set()
    lease.tick(2)
    deployment.clock.advance(LEASE_SECONDS - 1)
    assert stored(deployment, claimed).bytes_done == 2
    assert deployment.store.expired_units() == []


def test_tick_learns_that_the_unit_was_taken_over(deployment, claimed, lease):
    deployment.clock.advance(LEASE_SECONDS + 1)
    assert deployment.store.claim_unit(claimed.id, "merge-2", LEASE_SECONDS)
    with pytest.raises(LeaseLost):
        lease.tick(1)


def test_tick_learns_of_a_cancel(deployment, claimed, lease):
    deployment.cancel(claimed.job_id)
    deployment.clock.advance(1)
    with pytest.raises(JobCancelled):
        lease.tick(1)


def test_unit_of_a_silent_worker_is_taken_over_and_its_late_result_refused(deployment):
    job, (unit, *others) = deployment.planned()

    def fall_silent(_):
        deployment.clock.advance(LEASE_SECONDS + 1)
        deployment.run_unit(unit.id, owner="merge-2")

    deployment.on_next_read(fall_silent)
    deployment.run_unit(unit.id, owner="merge-1")
    done = stored(deployment, unit)
    assert (done.state, done.fence) == (UnitState.DONE, 2)
    for other in others:
        deployment.run_unit(other.id)
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    assert all(output.files == deployment.digests(output) for output in deployment.store.list_outputs(job.id))
    assert not deployment.is_staging()


def test_worker_that_is_late_for_the_whole_job_changes_nothing_and_cleans_up(deployment):
    job, (unit, *others) = deployment.planned()
    published = {}

    def sleep_through_the_job(_):
        deployment.clock.advance(LEASE_SECONDS + 1)
        for each in (unit, *others):
            deployment.run_unit(each.id, owner="merge-2")
        deployment.publish(job.id)
        assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
        published.update({output.name: deployment.digests(output) for output in deployment.store.list_outputs(job.id)})

    deployment.on_next_read(sleep_through_the_job)
    deployment.run_unit(unit.id, owner="merge-1")
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    outputs = deployment.store.list_outputs(job.id)
    assert {output.name: deployment.digests(output) for output in outputs} == published
    assert not deployment.is_staging()


def test_worker_that_begins_to_write_after_the_job_has_ended_cleans_up(deployment):
    job, (unit, *others) = deployment.planned()

    def sleep_through_the_job(_):
        deployment.clock.advance(LEASE_SECONDS + 1)
        for each in (unit, *others):
            deployment.run_unit(each.id, owner="merge-2")
        deployment.publish(job.id)
        deployment.drop_messages()
        assert not deployment.is_staging()

    deployment.on_next_listing(sleep_through_the_job)
    deployment.run_unit(unit.id, owner="merge-1")
    assert deployment.is_staging()
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    assert not deployment.is_staging()


def test_store_away_at_the_end_of_a_unit_leaves_it_to_its_lease(deployment):
    job, (unit, *others) = deployment.planned()
    deployment.store.away = {"complete_unit"}
    with pytest.raises(StoreUnavailable):
        deployment.run_unit(unit.id)
    deployment.store.away = set()
    deployment.clock.advance(LEASE_SECONDS + 1)
    deployment.sweep()
    for other in others:
        deployment.run_unit(other.id)
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)


def test_store_away_during_a_unit_does_not_disturb_it(deployment):
    _, (unit, *_) = deployment.planned()

    def lose_the_store(_):
        deployment.store.away = {"renew_lease"}
        deployment.clock.advance(LEASE_SECONDS / 2)

    deployment.on_next_read(lose_the_store)
    deployment.run_unit(unit.id)
    assert deployment.store.renewed.is_set()
    assert stored(deployment, unit).state is UnitState.DONE


def test_control_lease_is_kept_while_its_work_lasts_however_long(deployment, monkeypatch):
    monkeypatch.setattr("crossfade_worker.lease.CONTROL_LEASE_SECONDS", 0.3)
    job = deployment.submit()
    renewals = []
    lease_job = deployment.store.lease_job

    def counted(*arguments):
        deployment.clock.advance(0.1)
        renewals.append(arguments)
        return lease_job(*arguments)

    monkeypatch.setattr(deployment.store, "lease_job", counted)
    with control_lease(deployment.store, job.id, "control-1") as is_held:
        assert is_held
        deadline = time.monotonic() + 30
        while len(renewals) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(renewals) >= 8
        assert not lease_job(job.id, "control-2", 60)
    assert lease_job(job.id, "control-2", 60)


def test_control_lease_that_another_process_holds_is_not_kept(deployment):
    job = deployment.submit()
    assert deployment.store.lease_job(job.id, "control-2", 60)
    with control_lease(deployment.store, job.id, "control-1") as is_held:
        assert not is_held
    assert not deployment.store.lease_job(job.id, "control-1", 60)


def test_worker_told_to_stop_gives_its_unit_back_at_once(deployment):
    _, (unit, *_) = deployment.planned()

    def stop(_):
        raise SystemExit(0)

    deployment.on_next_read(stop)
    with pytest.raises(SystemExit):
        deployment.run_unit(unit.id)
    assert stored(deployment, unit).state is UnitState.PENDING
    assert deployment.queue.sent == [(UNIT, unit.id)]
    deployment.run_unit(unit.id)
    assert stored(deployment, unit).state is UnitState.DONE


def test_process_that_is_told_to_stop_stops_also_where_nobody_can_be_told(deployment):
    _, (unit, *_) = deployment.planned()

    def stop(_):
        deployment.queue.away = True
        raise SystemExit(0)

    deployment.on_next_read(stop)
    with pytest.raises(SystemExit):
        deployment.run_unit(unit.id)


def test_processes_that_are_told_to_stop_are_no_deaths_and_no_failures(deployment):
    _, (unit, *_) = deployment.planned()

    def stop(_):
        raise SystemExit(0)

    for _ in range(MAX_DEATHS + MAX_FAILURES):
        deployment.on_next_read(stop)
        with pytest.raises(SystemExit):
            deployment.run_unit(unit.id)
    deployment.run_unit(unit.id)
    assert stored(deployment, unit).state is UnitState.DONE


def test_unit_that_kills_its_workers_fails_its_job_after_a_few(deployment):
    job, (unit, *_) = deployment.planned()
    for _ in range(MAX_DEATHS):
        assert deployment.store.claim_unit(unit.id, "killed", LEASE_SECONDS)
        deployment.clock.advance(LEASE_SECONDS + 1)
    deployment.run_unit(unit.id)
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    error = deployment.job(job).error
    assert error["code"] == "attempts_exhausted"
    assert error["details"]["file"] == unit.shard["file"]
    assert f"begun {MAX_DEATHS} times" in error["message"]
    assert (PUBLISH, job.id) in deployment.queue.sent
    assert (UNIT, unit.id) not in deployment.queue.sent
