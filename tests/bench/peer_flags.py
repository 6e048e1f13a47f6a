"""Which flags the peer runs best with: every combination worth trying on the bench's own pair and recipe.

`python -m tests.bench.peer_flags` prints the table; `peer.best` holds its winner. Half an hour, 20 GB of scratch.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import machine, peer
from tests.bench.contestants import LAMBDAS
from tests.bench.make_pair import make_pair
from tests.bench.measured import Run

_SHARDS = ("--out-shard-size", "500M")
_ASYNC = (*_SHARDS, "--async-write")


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2200, metavar="MB", help="of each parent (default 2200)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to put scratch")
    options = parser.parse_args()
    print(machine.describe(), end="\n\n", flush=True)
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="crossfade-peer-", dir=options.folder) as scratch:
        sides = make_pair(Path(scratch, "pair"), options.size * 1_000_000)
        start_seconds = peer.start()
        for number in range(options.rounds):
            for variant, dtype in _variants()[:: -1 if number % 2 else 1]:
                recipe, out = Path(scratch, "recipe.yml"), Path(scratch, "out")
                peer.write_recipe(recipe, *sides, LAMBDAS, dtype=dtype)
                subprocess.run(["sync"], check=True)
                weights = [file for side in sides for file in side.glob("*.safetensors")]
                subprocess.run(["cat", *weights], check=True, stdout=subprocess.DEVNULL)
                runs.setdefault(variant.name, []).append(peer.sweep(variant, recipe, out, start_seconds))
                shutil.rmtree(out)
                print(f"{variant.name}: {runs[variant.name][-1].whole_seconds:.1f} s", file=sys.stderr, flush=True)
    _print(runs)


def _variants() -> list[tuple[peer.Variant, str]]:
    library = peer.jemalloc()
    je = {"LD_PRELOAD": library} if library else {}
    keeps = {**je, "MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1"}
    return [
        (peer.Variant("defaults, dtype float32"), "float32"),
        (peer.Variant("defaults"), "bfloat16"),
        (peer.Variant("jemalloc", (), je), "bfloat16"),
        (peer.Variant("500 MB shards, async write", _ASYNC), "bfloat16"),
        (peer.Variant("jemalloc, 500 MB shards, async write", _ASYNC, je), "bfloat16"),
        (peer.Variant("the same, 1 thread", (*_ASYNC, "-j", "1"), je), "bfloat16"),
        (peer.Variant("the same, 2 write threads", (*_ASYNC, "--write-threads", "2"), je), "bfloat16"),
        (peer.Variant("the same, lazy unpickle", (*_ASYNC, "--lazy-unpickle"), je), "bfloat16"),
        (peer.Variant("the same, jemalloc keeps memory", _ASYNC, keeps), "bfloat16"),
        (peer.Variant("the same, keeps, 1 thread", (*_ASYNC, "-j", "1"), keeps), "bfloat16"),
        (peer.Variant("the same, keeps, no model card", (*_ASYNC, "--no-write-model-card"), keeps), "bfloat16"),
    ]


def _print(runs: dict[str, list[Run]]) -> None:
    print("| mergekit-multi | whole, s: median (best) | CPU, s | peak RSS, MB |\n|---|---|---|---|")
    for name, taken in runs.items():
        walls = [run.whole_seconds for run in taken]
        cpu_seconds = statistics.median(run.cpu_seconds for run in taken)
        peak = max(run.peak_bytes for run in taken) / 1e6
        print(f"| {name} | {statistics.median(walls):.1f} ({min(walls):.1f}) | {cpu_seconds:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
