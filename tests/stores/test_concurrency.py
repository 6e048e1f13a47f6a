"""Many at once, as threads with connections of their own and as processes: one winner, no lost number, no deadlock."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine

from crossfade_core.errors import IllegalTransition, LeaseLost
from crossfade_core.job import JobId, JobState, Phase, Unit
from crossfade_core.job_store import NewUnit
from crossfade_stores.clock import SystemClock
from crossfade_stores.job_rows import lock_job
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.transactions import Transactions
from tests.fakes.clock import FakeClock

RunningJob = Callable[[int], tuple[JobId, list[Unit]]]
LEASE = 600.0
CLAIMERS = 20
ROUNDS = 10

CLAIM_IN_A_PROCESS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore

url, threads, *units = sys.argv[1:]
store = SqlJobStore(create_store_engine(url), SystemClock())
store.ping()
print("ready", flush=True)
sys.stdin.readline()

def claim(number):
    claims = [store.claim_unit(unit, f"{url[:6]}-{number}", 600) for unit in units]
    return [unit.id for unit in claims if unit is not None]

with ThreadPoolExecutor(int(threads)) as pool:
    won = [unit for units in pool.map(claim, range(int(threads))) for unit in units]
for unit in won:
    store.complete_unit(unit, 1, {})
print(*won)
"""


def at_once(*calls: Callable[[], Any]) -> Sequence[Any]:
    """Run the calls in threads that set off together; return their results, errors included, in order."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except (IllegalTransition, LeaseLost) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def assert_history_has_no_gap(store: SqlJobStore, job_id: JobId, count: int) -> None:
    sequences = [event.sequence for event in store.list_events(job_id, limit=10_000)]
    assert sequences == list(range(1, count + 1))


@pytest.fixture
def other_store(engine: Engine, open_engine: Callable[[str], Engine], database_url: str, clock: FakeClock):
    """A second process's view: the same database through connections of its own."""
    return SqlJobStore(open_engine(database_url), clock)


def test_of_twenty_claimers_one_wins(store, other_store, running_job: RunningJob):
    job_id, units = running_job(ROUNDS)
    stores = [store, other_store] * (CLAIMERS // 2)
    for unit in units:
        claims = at_once(*[partial(s.claim_unit, unit.id, f"w{n}", LEASE) for n, s in enumerate(stores)])
        (winner,) = [claim for claim in claims if claim is not None]
        assert winner.fence == 1
        assert store.list_units(job_id)[unit.position] == winner


def test_of_twenty_claimers_of_an_expired_lease_one_wins(store, other_store, running_job: RunningJob, clock):
    _, (unit,) = running_job(1)
    for fence in range(1, ROUNDS):
        claims = at_once(*[partial(s.claim_unit, unit.id, "w", LEASE) for s in [store, other_store] * 10])
        (winner,) = [claim for claim in claims if claim is not None]
        assert winner.fence == fence
        clock.advance(LEASE)


def test_claimers_in_several_processes_share_the_units_and_one_completion_sees_zero(
    store, database_url, running_job: RunningJob
):
    job_id, units = running_job(8)
    command = [sys.executable, "-c", CLAIM_IN_A_PROCESS, database_url, "5", *(unit.id for unit in units)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        won = [unit for process in processes for unit in process.communicate(timeout=120)[0].split()]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert sorted(won) == sorted(unit.id for unit in units)
    done = [event.data["remaining"] for event in store.list_events(job_id) if event.type == "unit.done"]
    assert done == [7, 6, 5, 4, 3, 2, 1, 0]
    assert_history_has_no_gap(store, job_id, 3 + 2 * 8)


def test_of_two_units_that_complete_at_once_exactly_one_sees_zero(store, other_store, running_job: RunningJob):
    for _ in range(ROUNDS):
        job_id, (one, two) = running_job(2)
        for unit in (one, two):
            store.claim_unit(unit.id, "w", LEASE)
        remaining = at_once(
            partial(store.complete_unit, one.id, 1, {}), partial(other_store.complete_unit, two.id, 1, {})
        )
        assert sorted(remaining) == [0, 1]
        assert_history_has_no_gap(store, job_id, 7)


def test_one_unit_completed_twice_at_once_is_completed_once(store, other_store, running_job: RunningJob):
    for _ in range(ROUNDS):
        job_id, (unit,) = running_job(1)
        store.claim_unit(unit.id, "w", LEASE)
        results = at_once(*[partial(s.complete_unit, unit.id, 1, {}) for s in (store, other_store)])
        assert sum(result == 0 for result in results) == 1
        assert sum(isinstance(result, LeaseLost) for result in results) == 1
        assert_history_has_no_gap(store, job_id, 5)


def test_of_several_ends_of_a_job_one_is_taken(store, other_store, running_job: RunningJob):
    ends = [JobState.SUCCEEDED, JobState.FAILED, JobState.PARTIALLY_SUCCEEDED, JobState.CANCELLING]
    for _ in range(ROUNDS):
        job_id, _ = running_job(1)
        results = at_once(
            *[partial(s.move_job, job_id, end, phase=Phase.DONE) for s in (store, other_store) for end in ends]
        )
        (taken,) = [result for result in results if not isinstance(result, IllegalTransition)]
        assert store.get_job(job_id) == taken
        assert_history_has_no_gap(store, job_id, 4)


def test_events_of_many_writers_are_numbered_without_gap_and_none_is_lost(store, other_store, running_job: RunningJob):
    job_id, units = running_job(8)
    for unit in units:
        store.claim_unit(unit.id, "w", LEASE)

    def toggle_phases(writer: SqlJobStore) -> None:
        for phase in [Phase.PUBLISHING, Phase.MERGING] * 5:
            writer.set_phase(job_id, phase)

    at_once(
        *[partial(s.complete_unit, unit.id, 1, {}) for unit, s in zip(units, [store, other_store] * 4, strict=True)],
        *[partial(s.publish_output, job_id, at, "file:///o", {}) for at, s in enumerate((store, other_store))],
        *[partial(toggle_phases, s) for s in (store, other_store)],
    )
    events = store.list_events(job_id, limit=1000)
    assert_history_has_no_gap(store, job_id, len(events))
    types = [event.type for event in events]
    assert types.count("unit.done") == 8
    assert types.count("output.published") == 2
    phases = [event.data["phase"] for event in events if event.type == "job.phase"]
    assert all(one != next_one for one, next_one in pairwise(phases))


def test_a_plan_saved_twice_at_once_is_saved_once(store, other_store, spec):
    for _ in range(ROUNDS):
        job = store.create_job(spec)
        store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
        plans = at_once(
            *[
                partial(s.save_plan, job.id, {"plan": n}, [NewUnit({"plan": n}, 1)] * 3)
                for n, s in enumerate((store, other_store))
            ]
        )
        assert plans[0] == plans[1] == store.list_units(job.id)


def test_renewing_claiming_and_cancelling_at_once_never_deadlocks(store, other_store, running_job: RunningJob):
    for _ in range(ROUNDS):
        job_id, units = running_job(4)
        for unit in units[:3]:
            store.claim_unit(unit.id, "w", LEASE)
        results = at_once(
            partial(store.renew_lease, units[0].id, 1, LEASE, 1),
            partial(other_store.complete_unit, units[1].id, 1, {}),
            partial(other_store.release_unit, units[2].id, 1),
            partial(store.claim_unit, units[3].id, "w", LEASE),
            partial(store.touch_job, job_id),
            partial(other_store.live_leases, job_id),
        )
        assert results[:3] == [None, 3, True]
        assert results[3].fence == 1


def test_a_reader_does_not_wait_for_a_writer(engine: Engine, other_store, running_job: RunningJob):
    job_id, (unit,) = running_job(1)
    with Transactions(engine).write() as session:
        lock_job(session, job_id).phase = Phase.PUBLISHING
        session.flush()
        assert other_store.get_job(job_id).phase is Phase.MERGING
        assert other_store.list_units(job_id) == [unit]
    assert other_store.get_job(job_id).phase is Phase.PUBLISHING


def test_the_system_clock_tells_utc():
    assert SystemClock().now().utcoffset().total_seconds() == 0
