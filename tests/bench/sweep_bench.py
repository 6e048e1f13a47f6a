"""`make bench`: a five-λ sweep by `crossfade merge` against other ways to the same outputs, all in one run.

A pair of TinyLlama-1.1B's shapes is generated, 2.2 GB a side in bf16. Rounds go back and forth over the contestants,
inputs warm; only ratios mean anything on another machine. Ours counts SHA-256 of every output and input, fsync and
publishing. The goals are for the pass whose statistics are asked to be cheap; the default's row stands beside. Each
wall clock is given twice: the whole command as a user waits for it, which the goals are for, and the work without the
start of Python and its imports, which does not grow with the model. The peer, 20 to 100 s a run, takes part in fewer
rounds; the table says in how many.

The modules: `make_pair` (the inputs), `contestants` (who runs), `peer` and `install_peer.sh` (mergekit), `measured`
(what a run cost), `counted_merge` (bytes read), `machine` (its limits), `report` (goals, tables). Of the rest, each is
the command behind one table of docs/performance.md. Needs 30 GB of scratch and less than 15 minutes.
"""

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import machine
from tests.bench.contestants import LAMBDAS, Bench, Contestant, contestants, inner_lambdas
from tests.bench.measured import Run
from tests.bench.report import Counted, Found, Memory, report

_MEMORY_LAMBDAS = (1, len(LAMBDAS), 11)
_SMALL_SHARE = 4


def main() -> None:
    """Measure, print the tables."""
    options = _options()
    scratch = Path(tempfile.mkdtemp(prefix="crossfade-bench-", dir=options.folder))
    try:
        print(machine.describe(), end="\n\n", flush=True)
        print(report(_measure(scratch, options)))
    finally:
        shutil.rmtree(scratch)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2200, metavar="MB", help="of each parent (default 2200)")
    parser.add_argument("--rounds", type=int, default=5, help="back and forth (default 5)")
    parser.add_argument("--peer-rounds", type=int, default=2, help="of them with mergekit; 0: without (default 2)")
    parser.add_argument("--idle", type=float, default=0, metavar="SECONDS", help="to wait before each run (default 0)")
    parser.add_argument("--folder", type=Path, help="where to put scratch (default: the temporary folder)")
    return parser.parse_args()


def _measure(scratch: Path, options: argparse.Namespace) -> Found:
    small_mb = max(1, options.size // _SMALL_SHARE)
    bench = Bench(*_pair(scratch / "pair", options.size), scratch / "out")
    small = Bench(*_pair(scratch / "small", small_mb), scratch / "out")
    entered = contestants(bench, scratch / "recipe.yml", options.peer_rounds)
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in entered}
    sha256_rates, write_rates = [], []
    for number in range(options.rounds):
        sha256_rates.append(machine.sha256_bytes_per_second())
        write_rates.append(machine.written_bytes_per_second(scratch))
        # Back and forth: memory the machine has just given up is slow to touch again, so the one before matters.
        for contestant in entered[:: -1 if number % 2 else 1]:
            if contestant.rounds is None or number < contestant.rounds:
                runs[contestant.name].append(_run(contestant, bench, options.idle))
                _say(f"round {number + 1}: {contestant.name}: {runs[contestant.name][-1].whole_seconds:.2f} s")
    _, elsewhere = _pair(scratch / "elsewhere", small_mb, "--shard-mb", str(max(1, small_mb // 5)))
    return Found(
        runs=runs,
        memory=[*_memory(bench, (1, 11)), *_memory(small, (len(LAMBDAS),))],
        counted=[
            _counted("sharded alike", bench, scratch),
            _counted("sharded differently", Bench(small.base, elsewhere, scratch / "out"), scratch),
        ],
        sha256_rates=sha256_rates,
        write_rates=[rate for rate in write_rates if rate is not None],
        model_bytes=bench.model_bytes,
    )


def _pair(folder: Path, size_mb: int, *options: str) -> tuple[Path, Path]:
    """Make a pair in a process of its own: a bench that had torch in memory would lend its peak to what it starts."""
    _say(f"making a pair of {size_mb} MB a side")
    command = [sys.executable, "-m", "tests.bench.make_pair", str(folder), "--size-mb", str(size_mb), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "base", folder / "instruct"


def _run(contestant: Contestant, bench: Bench, idle_seconds: float) -> Run:
    subprocess.run(["sync"], check=True)  # nobody pays for the writes of the one before
    time.sleep(idle_seconds)
    subprocess.run(["cat", *bench.parents], check=True, stdout=subprocess.DEVNULL)
    run = contestant.run()
    shutil.rmtree(bench.out, ignore_errors=True)
    return run


def _memory(bench: Bench, counts: Sequence[int]) -> list[Memory]:
    """Sweep with these numbers of λ; return what each of all the pair's sweeps held."""
    for count in counts:
        _say(f"memory: {bench.model_bytes / 1e6:.0f} MB, {count} λ")
        _run(Contestant("", functools.partial(bench.ours, inner_lambdas(count))), bench, 0)
    return [
        Memory(bench.model_bytes, figure["lambdas"], figure["peak_bytes"] - figure["baseline_bytes"])
        for figure in bench.figures
        if figure["lambdas"] in _MEMORY_LAMBDAS
    ]


def _counted(pair: str, bench: Bench, scratch: Path) -> Counted:
    """Sweep once more with every read counted."""
    _say(f"bytes read: {pair}")
    job = {"base": str(bench.base), "instruct": str(bench.instruct), "out": str(bench.out), "threads": 0}
    command = [sys.executable, "-m", "tests.bench.counted_merge", str(scratch / "counts.json")]
    given = json.dumps({**job, "spec": {"lambdas": LAMBDAS}})
    subprocess.run(command, check=True, input=given, text=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(bench.out)
    files = [file for side in (bench.base, bench.instruct) for file in side.iterdir()]
    return Counted(
        pair=pair,
        file_bytes=sum(file.stat().st_size for file in files),
        tensor_bytes=sum(file.stat().st_size - _header_bytes(file) for file in bench.parents),
        **json.loads((scratch / "counts.json").read_text()),
    )


def _header_bytes(file: Path) -> int:
    with open(file, "rb") as opened:
        return 8 + int.from_bytes(opened.read(8), "little")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
