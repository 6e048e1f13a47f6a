"""Small file systems, for what happens where a disk is full or read-only."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

NO_MOUNT = "needs a small disk: run the tests as root, in a container with `--cap-add SYS_ADMIN`"
"""Why a test is skipped where there is no other way to a disk that is full, or that root may not write to."""


@contextlib.contextmanager
def tmpfs(folder: Path, size_bytes: int, *options: str) -> Iterator[bool]:
    """Mount a file system of its own at a folder that is there; False inside where this machine does not let us."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={size_bytes}", *options)), "tmpfs", str(folder)]
    is_mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:  # lazy: what a test's processes still hold open goes with them
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
