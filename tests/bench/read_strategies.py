"""How parents are read: positioned reads into one buffer, a memory map, past the page cache; warm and cold; hints.

`python -m tests.bench.read_strategies` prints the table. Each row reads all files of one folder front to back and
hashes them, two threads a core on different files, nothing else: reading at the pace at which bytes are needed. "Cold"
has been dropped from the page cache with POSIX_FADV_DONTNEED, which needs no root; what lies below this machine, its
host's own cache, stays as it is.
"""

import argparse
import hashlib
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench import machine
from tests.bench.make_pair import make_pair

BLOCK_BYTES: Final = 1 << 20
_AHEAD_BYTES: Final = 8 << 20

Reader = Callable[[int, int, memoryview], Iterator[memoryview]]
"""Takes a descriptor, the file's size and an aligned buffer; yields its bytes in order."""


def preadv(descriptor: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """Read into the same buffer again and again."""
    for start in range(0, size, BLOCK_BYTES):
        yield buffer[: os.preadv(descriptor, [buffer], start)]


def preadv_sequential(descriptor: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """The same, having told the kernel so: it doubles its read-ahead (posix_fadvise(2))."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    yield from preadv(descriptor, size, buffer)


def preadv_ahead(descriptor: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """The same, asking for the next 8 MiB beforehand."""
    for start in range(0, size, BLOCK_BYTES):
        if start % _AHEAD_BYTES == 0:
            os.posix_fadvise(descriptor, start + _AHEAD_BYTES, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
        yield buffer[: os.preadv(descriptor, [buffer], start)]


def mapped(descriptor: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """Map the file; no copy, but a page fault for every 4 KiB."""
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as held, memoryview(held) as view:
        for start in range(0, size, BLOCK_BYTES):
            yield view[start : start + BLOCK_BYTES]


def mapped_sequential(descriptor: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """The same with MADV_SEQUENTIAL."""
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as held, memoryview(held) as view:
        held.madvise(mmap.MADV_SEQUENTIAL)
        for start in range(0, size, BLOCK_BYTES):
            yield view[start : start + BLOCK_BYTES]


def direct(descriptor: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """Read past the page cache."""
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECT)
    try:
        yield from preadv(again, size, buffer)
    finally:
        os.close(again)


READERS: Final[dict[str, Reader]] = {
    "preadv": preadv,
    "preadv, FADV_SEQUENTIAL": preadv_sequential,
    "preadv, FADV_WILLNEED 8 MiB ahead": preadv_ahead,
    "mmap": mapped,
    "mmap, MADV_SEQUENTIAL": mapped_sequential,
    "preadv, O_DIRECT": direct,
}


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2200, metavar="MB", help="of what is read (default 2200)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put scratch")
    options = parser.parse_args()
    print(machine.describe(), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="crossfade-reads-", dir=options.folder) as scratch:
        base, _ = make_pair(Path(scratch), options.size * 1_000_000, shard_bytes=options.size * 1_000_000 // 8)
        files = sorted(base.glob("*.safetensors"))
        subprocess.run(["sync"], check=True)
        found: dict[tuple[str, bool], list[tuple[float, float]]] = defaultdict(list)
        for number in range(options.rounds):
            for name in list(READERS)[:: -1 if number % 2 else 1]:
                for is_warm in (False, True):
                    found[name, is_warm].append(_time(READERS[name], files, is_warm=is_warm))
                print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    _print(found, options.size / 1000)


def _time(reader: Reader, files: list[Path], *, is_warm: bool) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    for file in files:
        with open(file, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if is_warm:
        subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)
    with ThreadPoolExecutor(2 * machine.cores()) as pool:
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        for _ in pool.map(lambda file: _hash(reader, file), files):
            pass
        seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _hash(reader: Reader, file: Path) -> str:
    digest = hashlib.sha256()
    with _descriptor(file) as descriptor, mmap.mmap(-1, BLOCK_BYTES) as room, memoryview(room) as buffer:
        for block in reader(descriptor, file.stat().st_size, buffer):
            with block:
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def _descriptor(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _print(found: dict[tuple[str, bool], list[tuple[float, float]]], size_gb: float) -> None:
    print("| read by | inputs | wall, s: median (best) | GB/s | CPU, s |\n|---|---|---|---|---|")
    for is_warm in (True, False):
        for name in READERS:
            walls, cpus = zip(*found[name, is_warm], strict=True)
            wall = statistics.median(walls)
            cells = (
                name,
                "warm" if is_warm else "cold",
                f"{wall:.2f} ({min(walls):.2f})",
                f"{size_gb / wall:.2f}",
                f"{statistics.median(cpus):.2f}",
            )
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
