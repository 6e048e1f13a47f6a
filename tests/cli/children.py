"""Tiny child processes, and waiting for what becomes of them."""

import os
import sys
import textwrap

import psutil

from crossfade_cli.processes import Child


def python(script: str, name: str = "child") -> Child:
    return Child(name, (sys.executable, "-c", textwrap.dedent(script)), dict(os.environ))


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
