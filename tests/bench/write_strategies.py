"""How outputs are written: page cache or past it, how many threads, how large the chunks. The engine itself, varied.

`python -m tests.bench.write_strategies` prints the table; every row is a whole sweep in a process of its own, rounds
back and forth, inputs warm, the pass alone (without the start of Python). Each begins with nothing left to write back.
"""

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final
from unittest import mock

from tests.bench import machine
from tests.bench.contestants import LAMBDAS
from tests.bench.make_pair import make_pair

KIB: Final = 1024
WRITES: Final = ("auto", "buffered")
THREADS: Final = (2, 4, 6)
CHUNKS: Final = (256 * KIB, 512 * KIB, 1024 * KIB, 2048 * KIB, 4096 * KIB)
USUAL: Final = (4, 1024 * KIB)
"""Threads and chunk where the other of the two varies."""


def main() -> None:
    """Measure every combination worth it, print the table; or be the process behind one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=800, metavar="MB", help="of each parent (default 800)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put scratch")
    parser.add_argument("--one", type=int, nargs=2, metavar=("THREADS", "CHUNK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.exit(_merge(*options.one))
    print(machine.describe(), end="\n\n", flush=True)
    scratch = Path(tempfile.mkdtemp(prefix="crossfade-writes-", dir=options.folder))
    try:
        _print(_measure(scratch, options.size, options.rounds))
    finally:
        shutil.rmtree(scratch)


def _merge(threads: int, chunk_bytes: int) -> int:
    """Run the merging process with other resources than its own choice."""
    from crossfade_engine.device import open_device
    from crossfade_engine.merge_shard import Resources
    from crossfade_worker import local_merge

    resources = Resources(open_device("cpu"), threads, chunk_bytes)
    with mock.patch.object(local_merge, "open_resources", return_value=resources):
        return local_merge.main()


Row = tuple[str, int, int]


def _measure(scratch: Path, size_mb: int, rounds: int) -> dict[Row, list[dict[str, Any]]]:
    base, instruct = make_pair(scratch / "pair", size_mb * 1_000_000)
    varied = {(threads, USUAL[1]) for threads in THREADS} | {(USUAL[0], chunk) for chunk in CHUNKS}
    rows = [(write, *pair) for write, pair in itertools.product(WRITES, sorted(varied))]
    found = defaultdict(list)
    for number in range(rounds):
        for row in rows[:: -1 if number % 2 else 1]:
            found[row].append(_run(row, base, instruct, scratch / "out"))
            print(row, found[row][-1]["pass_seconds"], file=sys.stderr, flush=True)
    return found


def _run(row: Row, base: Path, instruct: Path, out: Path) -> dict[str, Any]:
    write, threads, chunk_bytes = row
    subprocess.run(["sync"], check=True)
    files = [*base.glob("*.safetensors"), *instruct.glob("*.safetensors")]
    subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)
    job = {"base": str(base), "instruct": str(instruct), "out": str(out), "write": write, "spec": {"lambdas": LAMBDAS}}
    command = [sys.executable, "-m", "tests.bench.write_strategies", "--one", str(threads), str(chunk_bytes)]
    said = subprocess.run(command, input=json.dumps(job), check=True, stdout=subprocess.PIPE, text=True).stdout
    shutil.rmtree(out)
    figures: dict[str, Any] = json.loads(said.splitlines()[-1])
    return figures


def _print(found: dict[Row, list[dict[str, Any]]]) -> None:
    print("| writes | threads | chunk, KiB | wall, s: median (best) | CPU, s | memory, MB |\n|---|---|---|---|---|---|")
    for (write, threads, chunk_bytes), runs in found.items():
        walls = [run["pass_seconds"] for run in runs]
        cpu_seconds = statistics.median(run["cpu_seconds"] for run in runs)
        memory = max(run["peak_bytes"] - run["baseline_bytes"] for run in runs) / 1e6
        name = "page cache + fsync" if write == "buffered" else "O_DIRECT"
        print(
            f"| {name} | {threads} | {chunk_bytes // KIB} | {statistics.median(walls):.2f} ({min(walls):.2f}) "
            f"| {cpu_seconds:.1f} | {memory:.0f} |"
        )


if __name__ == "__main__":
    main()
