"""`make bench-scale`: one sweep by 1, 2 and 4 merge workers on real processes, each worker with one thread.

Timed from the first unit that is begun to the last that is done: what the workers share is the machine, PostgreSQL,
Redis and the folder they read from and publish to. A first sweep, not counted, brings the parents into the page cache.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Final

from crossfade_core.job import JobId, JobState
from tests.bench.machine import describe
from tests.bench.make_pair import make_pair
from tests.servers import Postgres, RedisServer
from tests.system.fleet import Fleet
from tests.system.serving import wait_for

LAMBDAS: Final = tuple(round(0.1 * step, 1) for step in range(11))
_SHARDS: Final = 24
_WORKERS: Final = (1, 2, 4)


def main() -> None:
    """Measure each number of workers, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair-bytes", type=int, default=1_200_000_000, help="Of both parents together.")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{describe()}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres, RedisServer() as redis:
        models, home = Path(folder, "models"), Path(folder, "service")
        models.mkdir()
        home.mkdir()
        make_pair(models, options.pair_bytes, options.pair_bytes // 2 // _SHARDS)
        with Fleet(home, models, (postgres.new_database(), redis.url)) as fleet:
            fleet.start("control")
            seconds = _measure(fleet, options.repeats)
    print(_table(seconds, options.pair_bytes))


def _measure(fleet: Fleet, repeats: int) -> dict[int, list[float]]:
    fleet.start("merge", "merge1")
    _sweep(fleet)
    seconds: dict[int, list[float]] = {count: [] for count in _WORKERS}
    for count in _WORKERS:
        names = [f"merge{number}" for number in range(1, count + 1)]
        for name in names:
            if name not in fleet.workers:
                fleet.start("merge", name)
        wait_for(lambda count=count: _busy(fleet) == count, 120)
        for _ in range(repeats):
            seconds[count].append(_sweep(fleet))
    return seconds


def _busy(fleet: Fleet) -> int:
    """Run a sweep and return how many workers took part: those that are up."""
    job_id = fleet.submit((0.5,), output_name="up-{job}-{lambda}")
    fleet.ended(job_id)
    _remove_outputs(fleet)
    return len({event.data["worker"] for event in fleet.events(job_id, "unit.started")})


def _sweep(fleet: Fleet) -> float:
    job_id = fleet.submit(LAMBDAS, output_name="sweep-{job}-{lambda}")
    job = fleet.ended(job_id, 1200)
    if job.state is not JobState.SUCCEEDED:
        raise SystemExit(f"the sweep ended {job.state}: {job.error}")
    _remove_outputs(fleet)
    return _seconds(fleet, job_id)


def _seconds(fleet: Fleet, job_id: JobId) -> float:
    begun = min(event.created_at for event in fleet.events(job_id, "unit.started"))
    done = max(event.created_at for event in fleet.events(job_id, "unit.done"))
    return (done - begun).total_seconds()


def _remove_outputs(fleet: Fleet) -> None:
    for output in fleet.outputs.iterdir():
        shutil.rmtree(output, ignore_errors=True)


def _table(seconds: dict[int, list[float]], pair_bytes: int) -> str:
    moved = pair_bytes * (1 + len(LAMBDAS) / 2)
    alone = min(seconds[1])
    rows = [
        f"| {count} | {min(found):.1f} s ({', '.join(f'{each:.1f}' for each in found)}) | "
        f"{moved / min(found) / 1e6:.0f} MB/s | {alone / min(found):.2f} |"
        for count, found in seconds.items()
    ]
    head = ["| merge workers | best sweep (all) | read and written | times the speed of one |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    main()
