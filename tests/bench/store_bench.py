"""`make bench-store`: a hundred workers on one job of ten thousand units, against the real store, without the merging.

Every worker does with the store what a merge worker does for a unit, as fast as it can: look for a more urgent unit,
claim, renew, complete; a real unit takes seconds to minutes in between. Workers are threads of a few processes, each
process with a store of its own. A second part only renews, for that is what most statements of a real deployment do:
two a second for each worker.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import psutil

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import JobState, Phase, UnitId
from crossfade_core.job_store import NewUnit
from crossfade_core.spec import MergeSpec
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.schema import upgrade
from tests.bench.machine import describe
from tests.servers import Postgres

T = TypeVar("T")

_PROCESSES: Final = 8
_LEASE_SECONDS: Final = 600.0
_RENEWING_SECONDS: Final = 10.0
_SHARD: Final = {"file": "model-00001-of-10000.safetensors", "tensors": [{"name": f"layer.{n}"} for n in range(8)]}
_RESULT: Final = {"outputs": ["0" * 64] * 11, "inputs": {}, "statistics": {"realised": [0.5] * 11}}


@dataclass
class Told:
    """What one process saw: which units it claimed, seconds of each call by name, how often the store was away.

    It began and ended at times of the clock that all processes share (CLOCK_MONOTONIC).
    """

    claimed: list[UnitId] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"claim": [], "renew": [], "complete": []})
    away: int = 0
    began: float = 0.0
    ended: float = 0.0


def main() -> None:
    """Measure both databases and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), nargs="+", default=["postgresql", "sqlite"])
    options = parser.parse_args()
    print(describe(), flush=True)
    for name in options.database:
        with _database(name) as (url, server):
            print(f"\n{_measure(name, url, server, options.workers, options.units)}", flush=True)


@contextlib.contextmanager
def _database(name: str) -> Iterator[tuple[str, psutil.Process | None]]:
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'crossfade.db'}", None
        return
    with Postgres(durable=True) as server:
        yield server.new_database(), server.process()


def _measure(name: str, url: str, server: psutil.Process | None, workers: int, units: int) -> str:
    ids = _new_job(url, units)
    cpu = _cpu_seconds(server)
    told = _at_once(_run_units, url, ids, workers)
    seconds = max(each.ended for each in told) - min(each.began for each in told)
    cpu_seconds = _cpu_seconds(server) - cpu
    claims = Counter(unit for each in told for unit in each.claimed)
    renewing = _at_once(_renew_only, url, _new_job(url, workers), workers)
    renewals = sum(len(each.seconds["renew"]) for each in renewing)
    rows = [
        (
            "units begun and completed",
            f"{len(claims)} of {units} in {seconds:.1f} s: {len(claims) / seconds:.0f} a second",
        ),
        ("claimed twice", str(sum(count - 1 for count in claims.values()))),
        *((f"{call}, median and 99th of 100", _spread(told, call)) for call in ("claim", "renew", "complete")),
        ("renewals alone", f"{renewals / _RENEWING_SECONDS:.0f} a second; {_spread(renewing, 'renew')}"),
        ("store away, tried again", str(sum(each.away for each in (*told, *renewing)))),
        ("CPU of the database", f"{cpu_seconds:.1f} s" if server else "in the workers"),
    ]
    lines = [f"{name}, {workers} workers", "", "| | |", "|---|---|", *(f"| {what} | {found} |" for what, found in rows)]
    return "\n".join(lines)


def _new_job(url: str, units: int) -> list[UnitId]:
    engine = create_store_engine(url)
    upgrade(engine)
    store = SqlJobStore(engine, SystemClock())
    spec = MergeSpec(base="local://m/base", instruct="local://m/instruct", lambdas=(0.5,), destination="outputs")
    job = store.create_job(spec)
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    stored = store.save_plan(job.id, {}, [NewUnit(dict(_SHARD), 1000) for _ in range(units)])
    engine.dispose()
    return [unit.id for unit in stored]


def _at_once(work: Callable[..., None], url: str, ids: list[UnitId], workers: int) -> list[Told]:
    """Run `workers` threads in a few processes, units dealt out in turn, as messages are."""
    context = multiprocessing.get_context("spawn")
    shares = [ids[number::_PROCESSES] for number in range(_PROCESSES)]
    with context.Pool(_PROCESSES) as pool:
        return pool.starmap(_in_threads, [(work, url, share, workers // _PROCESSES) for share in shares])


def _in_threads(work: Callable[..., None], url: str, ids: list[UnitId], count: int) -> Told:
    engine = create_store_engine(url)
    store, told, left = SqlJobStore(engine, SystemClock()), Told(), iter(ids)
    lock = threading.Lock()

    def take() -> UnitId | None:
        with lock:
            return next(left, None)

    threads = [threading.Thread(target=work, args=(store, take, told)) for _ in range(count)]
    told.began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.ended = time.monotonic()
    engine.dispose()
    return told


def _run_units(store: SqlJobStore, take: Callable[[], UnitId | None], told: Told) -> None:
    while (unit_id := take()) is not None:
        _call(told, lambda unit_id=unit_id: store.more_urgent_unit(unit_id))
        unit = _call(told, lambda unit_id=unit_id: store.claim_unit(unit_id, "bench", _LEASE_SECONDS), "claim")
        if unit is None:
            continue
        told.claimed.append(unit.id)
        _call(told, lambda unit=unit: store.renew_lease(unit.id, unit.fence, _LEASE_SECONDS, 500), "renew")
        _call(told, lambda unit=unit: store.complete_unit(unit.id, unit.fence, _RESULT), "complete")


def _renew_only(store: SqlJobStore, take: Callable[[], UnitId | None], told: Told) -> None:
    unit_id = take()
    unit = unit_id and _call(told, lambda: store.claim_unit(unit_id, "bench", _LEASE_SECONDS))
    deadline = time.monotonic() + _RENEWING_SECONDS
    while unit and time.monotonic() < deadline:
        _call(told, lambda: store.renew_lease(unit.id, unit.fence, _LEASE_SECONDS, 500), "renew")


def _call(told: Told, call: Callable[[], T], name: str | None = None) -> T:
    while True:
        started = time.monotonic()
        try:
            found = call()
        except StoreUnavailable:
            told.away += 1
            continue
        if name is not None:
            told.seconds[name].append(time.monotonic() - started)
        return found


def _spread(told: list[Told], call: str) -> str:
    seconds = sorted(second for each in told for second in each.seconds[call])
    return f"{1000 * statistics.median(seconds):.0f} ms, {1000 * seconds[int(0.99 * len(seconds))]:.0f} ms"


def _cpu_seconds(server: psutil.Process | None) -> float:
    """Of a PostgreSQL: it and its children, those that ended included."""
    if server is None:
        return 0.0
    own = server.cpu_times()
    live = [child.cpu_times() for child in server.children(recursive=True)]
    return own.children_user + own.children_system + sum(each.user + each.system for each in live)


if __name__ == "__main__":
    main()
