"""Run a command and say what it cost. Decides how a figure is taken, never what it is compared with."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

_LAST_WORDS_BYTES = 2000


@dataclass(frozen=True)
class Run:
    """What one run cost.

    Attributes:
        whole_seconds: Wall clock, as the user waits for it.
        work_seconds: The same without the start of the interpreter and its imports.
        cpu_seconds: User and system time of the command and all its children. What kernel threads do for it later, such
            as writing the page cache out, is in nobody's account.
        peak_bytes: The largest resident size of any one of its processes.
        printed: Its standard output.
    """

    whole_seconds: float
    work_seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: str = ""

    def with_work(self, seconds: float) -> "Run":
        """Return the same run with the work as the command itself measured it."""
        return replace(self, work_seconds=seconds)


def measure(*command: str | Path, env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end.

    Args:
        command: The program and its arguments.
        env: Variables added to this process's own.

    Raises:
        SystemExit: The command failed; with its last words.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(env or {})})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
        out.seek(0)
        if process.returncode != 0:
            size = err.seek(0, os.SEEK_END)
            err.seek(max(0, size - _LAST_WORDS_BYTES))
            raise SystemExit(f"{command[0]} ended with status {process.returncode}: {err.read().decode()}")
        cpu_seconds = usage.ru_utime + usage.ru_stime
        return Run(seconds, seconds, cpu_seconds, usage.ru_maxrss * 1024, out.read().decode())


def one_after_the_other(*runs: Run) -> Run:
    """Return what the runs cost together."""
    return Run(
        sum(run.whole_seconds for run in runs),
        sum(run.work_seconds for run in runs),
        sum(run.cpu_seconds for run in runs),
        max(run.peak_bytes for run in runs),
    )
