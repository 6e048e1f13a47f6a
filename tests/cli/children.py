"""Tiny child processes, and waiting for what becomes of them."""

import os
import sys
import textwrap
import time
from collections.abc import Callable

import psutil

from crossfade_cli.processes import Child

WAIT_SECONDS = 180


def python(script: str, name: str = "child") -> Child:
    return Child(name, (sys.executable, "-c", textwrap.dedent(script)), dict(os.environ))


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
