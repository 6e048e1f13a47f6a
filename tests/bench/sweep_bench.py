"""`make bench`: a five-λ sweep by `crossfade merge` against this machine's own limits, all in one run.

Interleaved rounds, inputs warm; only ratios mean anything on another machine. The goals are for the best round of each:
`cp` alone is three times slower when the machine has just given up the memory it writes to, as virtual ones do, and the
median of such a pair of humps says nothing; it is printed beside. Two figures for each: the whole command as a user
waits for it, and the work without the start of Python and `import torch`, a second that does not grow with the model.
The goals are for the work, as crossfade's workers start once and stay; both are printed.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.make_pair import make_pair

LAMBDAS = (0.1, 0.3, 0.5, 0.7, 0.9)
OURS = "crossfade merge"
GOALS = {"cp + openssl dgst": 0.8, "plain loop": 0.5}
MAX_MEMORY_MB = 64
CLI = str(Path(sys.executable).with_name("crossfade"))


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: as a user waits for it, and without start-up."""

    whole: float
    work: float


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mb", type=int, default=600, help="bytes of each parent, in MB (default 600)")
    parser.add_argument("--rounds", type=int, default=6, help="interleaved rounds (default 6)")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to put scratch (default: the temporary folder)"
    )
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="crossfade-bench-", dir=options.folder))
    try:
        _measure(scratch, options)
    finally:
        shutil.rmtree(scratch)


def _measure(scratch: Path, options: argparse.Namespace) -> None:
    print(f"making a pair of {options.size_mb} MB each …", flush=True)
    base, instruct = make_pair(scratch / "pair", options.size_mb * 1_000_000)
    out, figures = scratch / "out", []

    def ours() -> float:
        command = [CLI, "merge", base, instruct, "--lambda", ",".join(map(str, LAMBDAS)), "--out", out, "--json"]
        figures.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        return figures[-1]["seconds"]

    def copy() -> None:
        out.mkdir()
        for folder in sorted(kept.iterdir()):
            subprocess.run(["cp", "-r", folder, out], check=True)
        shards = sorted(out.glob("*/*.safetensors"))
        subprocess.run(["openssl", "dgst", "-sha256", *shards], check=True, stdout=subprocess.DEVNULL)

    def copy_synced() -> None:
        copy()
        subprocess.run(["sync", *sorted(out.glob("*/*"))], check=True)

    def loop() -> float:
        command = [sys.executable, "-m", "tests.bench.plain_loop", base, instruct, out, *map(str, LAMBDAS)]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    ours()  # warms the inputs, and leaves the outputs that `copy` copies
    kept = out.rename(scratch / "kept")
    figures.clear()
    contestants: dict[str, Callable[[], float | None]] = {
        OURS: ours,
        "cp + openssl dgst": copy,
        "the same + sync": copy_synced,
        "plain loop": loop,
    }
    seconds: dict[str, list[Timing]] = {name: [] for name in contestants}
    for number in range(options.rounds):
        # Back and forth: memory the machine has just given up is slow to touch again, so the one before matters.
        for name, run in list(contestants.items())[:: -1 if number % 2 else 1]:
            seconds[name].append(_timed(run, out))
            print(f"round {number + 1}: {name}: {seconds[name][-1].whole:.2f} s", flush=True)
    _report(seconds, figures)


def _timed(run: Callable[[], float | None], out: Path) -> Timing:
    subprocess.run(["sync"], check=True)  # nobody pays for the writes of the one before
    started = time.monotonic()
    work = run()
    whole = time.monotonic() - started
    shutil.rmtree(out)
    return Timing(whole, whole if work is None else work)


def _report(seconds: dict[str, list[Timing]], figures: list[dict[str, float]]) -> None:
    memory_mb = max(figure["peak_bytes"] - figure["baseline_bytes"] for figure in figures) / 1e6
    is_missed = memory_mb > MAX_MEMORY_MB
    ours = _figures(seconds[OURS])
    print(f"\n{'':<20}{'work: best':>11}{'median':>8}{'whole: best':>13}{'median':>8}{'ours / it':>11}{'goal':>7}")
    for name, timings in seconds.items():
        found = _figures(timings)
        row = f"{name:<20}{found[0]:>9.2f} s{found[1]:>6.2f} s{found[2]:>11.2f} s{found[3]:>6.2f} s"
        if name != OURS:
            ratio, goal = ours[0] / found[0], GOALS.get(name)
            is_missed |= goal is not None and ratio > goal
            row += f"{ratio:>11.2f}" + (f"{f'≤ {goal}':>7}" if goal else "")
        print(row)
    wholes = ", ".join(
        f"{ours[2] / _figures(found)[2]:.2f} of {name}" for name, found in seconds.items() if name != OURS
    )
    print(f"\nThe whole command, best against best: {wholes}.")
    print(f"Memory above baseline: {memory_mb:.1f} MB (goal ≤ {MAX_MEMORY_MB}).")
    print("Ours counts reading both parents once, SHA-256 of every output and input, fsync and publishing.")
    print("a goal was missed" if is_missed else "every goal was met")


def _figures(timings: list[Timing]) -> tuple[float, float, float, float]:
    """Return seconds: the best and the median of the work, the best and the median of the whole."""
    work, whole = [timing.work for timing in timings], [timing.whole for timing in timings]
    return min(work), statistics.median(work), min(whole), statistics.median(whole)


if __name__ == "__main__":
    main()
