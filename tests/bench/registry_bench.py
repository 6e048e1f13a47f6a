"""`make bench-registries`: a sweep from registry to registry in one pass, against fetching, merging and sending.

A pair of 1 GB a side lies in a Hub of the tests, and in OpenStack Swift behind a proxy. Both limit their rate each way,
and count. The service is `crossfade serve` with its own processes; it has run a small job before, as a service has,
and of the other way no start of an interpreter is counted. The other way uses each registry's own client, as parallel
as it goes, and `crossfade merge` between. Only ratios mean anything on another machine, and only where the rate is what
limits: the registries' processes share the cores with whoever is measured.

At best one pass takes as long as the longer of both directions, and the other way as long as their sum and the merge.
Two λ send as much as is fetched, so there the ratio can come near 1/2; with one or three of them 2/3 and 3/5 are its
limit at low rates, whatever the code.

The modules: `registry_servers` and `registries` (start them, ask them), `registry_service` (ours), `registry_client`
(their clients), `registry_contestants` (both ways), `watch` (memory, scratch), `registry_report` (goals, tables). Needs
15 GB of disk.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.bench import machine
from tests.bench.contestants import inner_lambdas
from tests.bench.registry_contestants import SMALL, Runs, Steps, Streamed, parents
from tests.bench.registry_report import Found, report
from tests.bench.registry_servers import hub_registry, s3_registry
from tests.bench.registry_service import service

FULL: Final = "full"
HALF: Final = "half"
_REGISTRIES: Final = {"hub": hub_registry, "s3": s3_registry}
_INTERRUPTED: Final = 130
_SHARDS: Final = 8
_LEAST_SHARD_MB: Final = 20
"""What fits into one part of an upload takes another way into S3 than a shard does."""
_SMALL_MB: Final = 38
_SMALL_SHARD_MB: Final = 20

Pairs = Mapping[str, tuple[Path, Path]]


def main() -> None:
    """Measure, print a table for each registry and rate."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scratch = Path(tempfile.mkdtemp(prefix="crossfade-registries-", dir=options.folder))
    try:
        print(machine.describe(), flush=True)
        pairs = _pairs(scratch / "pairs", options.size)
        for registry in options.registry:
            for rate in options.rate:
                print(f"\n{report(_measure(scratch / 'run', pairs, options, (registry, rate)))}", flush=True)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # what was interrupted may still tidy up itself


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, metavar="MB", help="of each parent (default 1000)")
    parser.add_argument("--lambdas", type=int, default=2, help="how many (default 2)")
    parser.add_argument("--workers", type=int, default=2, help="processes that merge (default 2)")
    parser.add_argument("--rounds", type=int, default=1, help="back and forth (default 1)")
    parser.add_argument("--registry", choices=_REGISTRIES, nargs="+", default=list(_REGISTRIES))
    rates = {"metavar": "MB", "help": "a second, each way; 0 for no limit (default 200)"}
    parser.add_argument("--rate", type=float, nargs="+", default=[200], **rates)
    parser.add_argument("--folder", type=Path, help="where to put scratch (default: the temporary folder)")
    return parser.parse_args()


def _pairs(folder: Path, size_mb: int) -> Pairs:
    shard_mb = max(_LEAST_SHARD_MB, size_mb // _SHARDS)
    return {
        FULL: _pair(folder / FULL, size_mb, shard_mb),
        HALF: _pair(folder / HALF, size_mb // 2, shard_mb),
        SMALL: _pair(folder / SMALL, _SMALL_MB, _SMALL_SHARD_MB),
    }


def _pair(folder: Path, size_mb: int, shard_mb: int) -> tuple[Path, Path]:
    _say(f"making a pair of {size_mb} MB a side")
    sizes = ["--size-mb", str(size_mb), "--shard-mb", str(shard_mb)]
    command = [sys.executable, "-m", "tests.bench.make_pair", str(folder), *sizes]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "base", folder / "instruct"


def _measure(folder: Path, pairs: Pairs, options: argparse.Namespace, where: tuple[str, float]) -> Found:
    """Measure on one registry at one rate; `folder` is new and removed."""
    kind, rate_mb = where
    named = {name: path for pair, sides in pairs.items() for name, path in zip(parents(pair), sides, strict=True)}
    lambdas, rate = inner_lambdas(options.lambdas), rate_mb * 1e6 or None
    folder.mkdir()
    try:
        with (
            _REGISTRIES[kind](folder, named, rate) as registry,
            service(folder / "service", registry, options.workers) as running,
        ):
            _say(f"{registry.name}, {rate_mb:g} MB/s each way: a small job, planning, half the size")
            runs = Runs(registry, running, lambdas, folder)
            planning, half = runs.plan_only(FULL), runs.stream(HALF, HALF)
            ours, theirs = _contest(runs, options.rounds)
            _say("comparing")
            published = [registry.shards(name) for name in ours[-1].job.outputs]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Found(
        registry=registry.name,
        bytes_per_second=rate,
        parents=pairs[FULL],
        workers=options.workers,
        ours=ours,
        theirs=theirs,
        half=half,
        planning=planning,
        published=published,
    )


def _contest(runs: Runs, rounds: int) -> tuple[list[Streamed], list[Steps]]:
    ours, theirs = [], []
    for number in range(rounds):
        for is_ours in (True, False)[:: -1 if number % 2 else 1]:
            subprocess.run(["sync"], check=True)  # nobody pays for the writes of the one before
            if is_ours:
                ours.append(runs.stream(FULL, f"streamed{number}"))
                _say(f"round {number + 1}: one pass: {ours[-1].job.seconds:.1f} s")
            else:
                theirs.append(runs.take_steps(FULL, f"steps{number}"))
                _say(f"round {number + 1}: fetch, merge, send: {theirs[-1].seconds:.1f} s")
    return ours, theirs


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
