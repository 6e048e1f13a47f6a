"""How the λ of a chunk are shared out among threads: four ways to the same files, from the same few lines of work.

`python -m tests.bench.grouping` prints the table. SHA-256 is sequential, so the chunks of one output must be made in
order, whoever makes them; how the threads agree on that is what varies. Parents warm, outputs with O_DIRECT; parents
are neither checked nor hashed and no statistics are taken, so that what is shared out weighs more than in the engine.
"""

import argparse
import hashlib
import mmap
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch

from tests.bench import machine
from tests.bench.contestants import LAMBDAS
from tests.bench.make_pair import make_pair

CHUNK_BYTES: Final = 1 << 20
RING: Final = 4
THREADS_PER_CORE: Final = (1, 2)


class Room:
    """Page-aligned memory of one chunk."""

    def __init__(self) -> None:
        self.bytes = memoryview(mmap.mmap(-1, CHUNK_BYTES))
        self.bf16 = torch.frombuffer(self.bytes, dtype=torch.bfloat16)


class Work:
    """One sweep over one shard of a pair, whole chunks only: what is left over at the end does not matter here."""

    def __init__(self, base: Path, instruct: Path, out: Path) -> None:
        self.chunks = base.stat().st_size // CHUNK_BYTES
        self._parents = [os.open(file, os.O_RDONLY) for file in (base, instruct)]
        flags = os.O_WRONLY | os.O_CREAT | os.O_DIRECT
        self._outs = [os.open(out / f"{lam}-{base.name}", flags, 0o644) for lam in LAMBDAS]
        self._digests = [hashlib.sha256() for _ in LAMBDAS]

    def load(self, chunk: int, slot: tuple[Room, Room]) -> None:
        """Read both parents' chunk."""
        for descriptor, room in zip(self._parents, slot, strict=True):
            os.preadv(descriptor, [room.bytes], chunk * CHUNK_BYTES)

    def make(self, which: int, slot: tuple[Room, Room], made: Room) -> None:
        """Make, hash and write one λ of the chunk in `slot`."""
        torch.lerp(slot[0].bf16, slot[1].bf16, LAMBDAS[which], out=made.bf16)
        self._digests[which].update(made.bytes)
        os.write(self._outs[which], made.bytes)

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in (*self._parents, *self._outs):
            os.close(descriptor)


Way = Callable[[Work, int], None]


def furthest_behind(work: Work, threads: int) -> None:
    """A ring of loaded chunks; each thread takes the λ furthest behind that nobody has (the engine's way)."""
    changed = threading.Condition()
    slots = [(Room(), Room()) for _ in range(RING)]
    loaded, next_of, busy = [0], [0] * len(LAMBDAS), [False] * (len(LAMBDAS) + 1)

    def choose() -> int | None:
        if not busy[-1] and loaded[0] < min(work.chunks, min(next_of) + RING):
            return len(LAMBDAS)
        able = [k for k, chunk in enumerate(next_of) if not busy[k] and chunk < loaded[0]]
        return min(able, key=next_of.__getitem__) if able else None

    def run() -> None:
        made = Room()
        while True:
            with changed:
                changed.wait_for(lambda: min(next_of) == work.chunks or choose() is not None)
                which = choose()
                if which is None:
                    return
                busy[which] = True
            if which == len(LAMBDAS):
                work.load(loaded[0], slots[loaded[0] % RING])
            else:
                work.make(which, slots[next_of[which] % RING], made)
            with changed:
                busy[which] = False
                if which == len(LAMBDAS):
                    loaded[0] += 1
                else:
                    next_of[which] += 1
                changed.notify_all()

    _together([run] * threads)


def chunk_by_chunk(work: Work, threads: int) -> None:
    """Each thread takes a chunk, reads it and makes all its λ, each when the chunk before has been through."""
    changed = threading.Condition()
    taken, turn = [0], [0] * len(LAMBDAS)

    def run() -> None:
        slot, made = (Room(), Room()), Room()
        while True:
            with changed:
                chunk = taken[0]
                taken[0] += 1
            if chunk >= work.chunks:
                return
            work.load(chunk, slot)
            for which in range(len(LAMBDAS)):
                with changed:
                    changed.wait_for(lambda which=which, chunk=chunk: turn[which] == chunk)  # type: ignore[misc]
                work.make(which, slot, made)
                with changed:
                    turn[which] += 1
                    changed.notify_all()

    _together([run] * threads)


def own_lambdas(work: Work, threads: int) -> None:
    """Each thread has some of the λ and reads the parents for itself; nobody waits for anybody."""

    def run(mine: Sequence[int]) -> None:
        slot, made = (Room(), Room()), Room()
        for chunk in range(work.chunks):
            work.load(chunk, slot)
            for which in mine:
                work.make(which, slot, made)

    shares = [range(number, len(LAMBDAS), threads) for number in range(threads)]
    _together([lambda share=share: run(share) for share in shares])  # type: ignore[misc]


def one_after_the_other(work: Work, threads: int) -> None:
    """The λ wait in a queue; a thread takes one and makes all of it: the parents are read once for each λ."""
    left = list(range(len(LAMBDAS)))

    def run() -> None:
        slot, made = (Room(), Room()), Room()
        while left:
            which = left.pop()
            for chunk in range(work.chunks):
                work.load(chunk, slot)
                work.make(which, slot, made)

    _together([run] * threads)


WAYS: Final[dict[str, Way]] = {
    "any thread, the λ furthest behind": furthest_behind,
    "a chunk to a thread, all its λ": chunk_by_chunk,
    "some λ to a thread, chunk by chunk": own_lambdas,
    "one λ to a thread, whole": one_after_the_other,
}


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1500, metavar="MB", help="of each parent (default 1500)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put scratch")
    options = parser.parse_args()
    print(machine.describe(), end="\n\n", flush=True)
    torch.set_num_threads(1)
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="crossfade-grouping-", dir=options.folder) as scratch:
        base, instruct = make_pair(Path(scratch), options.size * 1_000_000)
        for number in range(options.rounds):
            for name in list(WAYS)[:: -1 if number % 2 else 1]:
                for per_core in THREADS_PER_CORE:
                    threads = per_core * machine.cores()
                    found[name, threads].append(_time(WAYS[name], threads, base, instruct, Path(scratch, "out")))
                print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    _print(found)


def _time(way: Way, threads: int, base: Path, instruct: Path, out: Path) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    out.mkdir()
    subprocess.run(["sync"], check=True)
    names = sorted(file.name for file in base.glob("*.safetensors"))
    parents = [side / name for side in (base, instruct) for name in names]
    subprocess.run(["cat", *parents], check=True, stdout=subprocess.DEVNULL)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    for name in names:
        work = Work(base / name, instruct / name, out)
        way(work, threads)
        work.close()
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    shutil.rmtree(out)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _together(bodies: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _print(found: dict[tuple[str, int], list[tuple[float, float]]]) -> None:
    print("| the λ of a chunk | threads | wall, s: median (best) | CPU, s |\n|---|---|---|---|")
    for (name, threads), taken in found.items():
        walls, cpus = zip(*taken, strict=True)
        wall = f"{statistics.median(walls):.2f} ({min(walls):.2f})"
        print(f"| {name} | {threads} | {wall} | {statistics.median(cpus):.1f} |")


if __name__ == "__main__":
    main()
