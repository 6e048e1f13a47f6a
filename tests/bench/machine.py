"""What this machine can do at most: the SHA-256 rate of all its cores, and whether somebody else is using them."""

import hashlib
import os
import platform
import threading
import time
from importlib.metadata import version

_BLOCK_BYTES = 1 << 20
_SECONDS = 1.0


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def sha256_bytes_per_second() -> float:
    """Hash blocks that stay in cache on every core at once, as hashlib does it for everybody, for about a second."""
    made = [0] * cores()
    until = time.monotonic() + _SECONDS

    def work(number: int) -> None:
        block, digest = bytes(_BLOCK_BYTES), hashlib.sha256()
        while time.monotonic() < until:
            digest.update(block)
            made[number] += len(block)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(made))]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made) / (time.monotonic() - started)


def describe() -> str:
    """One line on what was measured on, the load of others included."""
    busy = os.getloadavg()[0]
    warning = "" if busy < cores() / 4 else " (others are at work: these figures are worth little)"
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{cores()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}, torch {version('torch')}, "
        f"load at the start {busy:.2f}{warning}"
    )
