"""What this machine can do at most: SHA-256 on all its cores, writes past the page cache; and whether it is busy."""

import hashlib
import mmap
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

_BLOCK_BYTES = 1 << 20
_SECONDS = 1.0
_FILES, _BLOCKS = 5, 500


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def sha256_bytes_per_second() -> float:
    """Hash blocks that stay in cache on every core at once, as hashlib does it for everybody, for about a second."""

    def work() -> int:
        block, digest, made = bytes(_BLOCK_BYTES), hashlib.sha256(), 0
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            digest.update(block)
            made += len(block)
        return made

    return _rate([work] * cores())


def written_bytes_per_second(folder: Path) -> float | None:
    """Write with O_DIRECT to as many files at once as our command does for five λ, 2.5 GB in all.

    Returns:
        The rate; None where the file system knows no O_DIRECT.
    """
    files = [folder / f"written-{number}" for number in range(_FILES)]

    def work(file: Path) -> int:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o644)
        try:
            with mmap.mmap(-1, _BLOCK_BYTES) as block:
                return sum(os.write(descriptor, block) for _ in range(_BLOCKS))
        finally:
            os.close(descriptor)

    try:
        os.close(os.open(files[0], os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o644))
        return _rate([partial(work, file) for file in files])
    except OSError:
        return None
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _rate(works: list[Callable[[], int]]) -> float:
    """Return the bytes a second that these make side by side."""
    with ThreadPoolExecutor(len(works)) as pool:
        started = time.monotonic()
        made: int = sum(pool.map(lambda work: work(), works))
        return made / (time.monotonic() - started)


def describe() -> str:
    """One line on what was measured on, the load of others included."""
    busy = os.getloadavg()[0]
    warning = "" if busy < cores() / 4 else " (others are at work: these figures are worth little)"
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{cores()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}, torch {version('torch')}, "
        f"load at the start {busy:.2f}{warning}"
    )
