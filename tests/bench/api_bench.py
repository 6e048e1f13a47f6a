"""`make bench-api`: the API under a mix of reads and submits, 200 requests a second for a minute, beside bare FastAPI.

A real API process on a real database and a real Redis, called with an API key over HTTP by a process of its own. Exits
with 1 where an answer was wrong, late by 10 s or missing, or where the 99th of 100 took more than 250 ms.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crossfade_api.rate_limits import NO_LIMIT
from tests.bench.api_load import Phase, put_under_load
from tests.bench.api_report import API, Server, is_met, report
from tests.bench.api_service import TOKEN, Filled, database, fill, make_key, serve
from tests.bench.api_traffic import ApiTraffic, OneRoute
from tests.bench.machine import cores, describe
from tests.bench.make_pair import make_pair
from tests.servers import RedisServer

_PAIR_BYTES: Final = 80_000_000
_SHARDS: Final = 4
_CONNECTIONS: Final = 16
_WARM_UP_SECONDS: Final = 3.0
_BARE_ROUTES: Final = {"bare FastAPI, on the loop": "/json", "bare FastAPI, on a thread": "/json-on-a-thread"}


@dataclass(frozen=True)
class _Target:
    """What the API is started with, whatever its database."""

    home: Path
    models: Path
    broker_url: str
    processes: int


def main() -> int:
    """Measure each database in turn; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="Of requests on schedule.")
    parser.add_argument("--rate", type=float, default=200.0, help="Requests a second.")
    parser.add_argument("--jobs", type=int, default=2000, help="Jobs in the store when it begins.")
    parser.add_argument("--processes", type=int, default=cores(), help="Of the API (CROSSFADE_API_PROCESSES).")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), nargs="+", default=["postgresql", "sqlite"])
    options = parser.parse_args()
    print(describe(), flush=True)
    has_met = True
    with tempfile.TemporaryDirectory() as folder, RedisServer() as redis:
        models = Path(folder, "models")
        make_pair(models, _PAIR_BYTES, _PAIR_BYTES // _SHARDS)
        phases = _phases(options.rate, options.seconds)
        for name in options.database:
            home = Path(folder, name)
            home.mkdir()
            target = _Target(home, models, redis.url, options.processes)
            with database(name) as (url, database_pid):
                api, answer_bytes = _measure_api(target, fill(url, models, options.jobs), url, database_pid, phases)
            bare = _measure_bare(home, answer_bytes, _phases(options.rate, options.seconds / 4))
            head = f"{name}, {options.rate:.0f} requests a second, {options.processes} API processes"
            print(f"\n{head}\n\n{report(api, bare, database_pid)}", flush=True)
            has_met = has_met and is_met(api)
    return 0 if has_met else 1


def _phases(rate: float, seconds: float) -> list[Phase]:
    """A stretch that is not counted, the schedule, and as much as there is to be had for a sixth of its time."""
    warm_up = Phase("warm up", min(_WARM_UP_SECONDS, seconds), rate=rate)
    return [warm_up, Phase("on schedule", seconds, rate=rate), Phase("at most", seconds / 6, connections=_CONNECTIONS)]


def _measure_api(
    target: _Target, jobs: Filled, database_url: str, database_pid: int | None, phases: list[Phase]
) -> tuple[Server, int]:
    """Return what the API did, and the mean size of its answers."""
    outputs = target.home / "outputs"
    outputs.mkdir()
    settings = {
        "database_url": database_url,
        "broker_url": target.broker_url,
        "roots": json.dumps({"models": str(target.models)}),
        "destinations": json.dumps({"outputs": {"kind": "local", "path": str(outputs)}}),
        "api_token": TOKEN,
        "requests_per_minute": NO_LIMIT,
        "api_processes": target.processes,
    }
    with serve(target.home, "crossfade_api", **settings) as process:
        traffic = ApiTraffic(make_key(process.port), *jobs)
        pids = [process.pid, *([database_pid] if database_pid is not None else [])]
        _, on_schedule, at_most = put_under_load(process.port, traffic, phases, pids)
    return Server(API, process.pid, on_schedule, at_most), on_schedule.body_bytes // max(1, on_schedule.answered)


def _measure_bare(home: Path, answer_bytes: int, phases: list[Phase]) -> list[Server]:
    arguments = ("--port", "{port}", "--bytes", str(answer_bytes))
    with serve(home, "tests.bench.api_bare", *arguments) as process:
        servers = []
        for name, path in _BARE_ROUTES.items():
            _, on_schedule, at_most = put_under_load(process.port, OneRoute(path), phases, [process.pid])
            servers.append(Server(name, process.pid, on_schedule, at_most))
        return servers


if __name__ == "__main__":
    sys.exit(main())
