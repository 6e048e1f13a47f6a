"""One child process that never outlives us and leaves nothing behind.

Three things hold that. The kernel sends a child SIGKILL when this process dies (PR_SET_PDEATHSIG, prctl(2)), even by
SIGKILL; Celery's pool processes ask for the same of their parent. Every child leads a process group, which is killed
as a whole once its leader has ended. And a leader is reaped last, so that its group's id cannot yet mean another.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossfade_core.errors import ProcessFailed

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)

_LAST_LINES = 15
_LAST_BYTES = 8192


@dataclass(frozen=True)
class Child:
    """A process to run: a name for people and its log file, its command line, its whole environment."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]


class RunningChild:
    """One run of a child.

    Start it in the main thread: to the kernel a child's parent is a thread.

    Args:
        child: What to run.
        log: Its stdout and stderr are appended here.
        folder: Its working directory.

    Raises:
        ProcessFailed: It cannot be started.
    """

    def __init__(self, child: Child, log: Path, folder: Path) -> None:
        self.name = child.name
        self.log = log
        parent = os.getpid()
        try:
            with log.open("ab") as output:
                self._log_start_bytes = output.tell()
                self._process = subprocess.Popen(
                    child.argv,
                    env=child.env,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=lambda: _bind_life_to(parent),  # noqa: PLW1509 (serve has one thread)
                )
        except OSError as error:
            raise ProcessFailed(f"{child.name} cannot be started: {error}") from error
        self._started_at = time.monotonic()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def age_seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._started_at

    def collect(self) -> int | None:
        """Return the exit code once the child has ended, minus the signal's number if by a signal; else None."""
        if self._process.returncode is None:
            # Looked at without reaping: until it is reaped its process group's id is taken.
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self.kill()
        return self._process.returncode

    def terminate(self) -> None:
        """Ask the child, and not its own children, to end."""
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the child's whole process group and reap it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_lines(self) -> str:
        """Return the end of what this run has logged, indented."""
        return "\n".join(f"  {line}" for line in self._logged()[-_LAST_LINES:]) or "  (nothing)"

    def last_line(self) -> str:
        """Return the last line that this run has logged."""
        return (self._logged() or ["(nothing logged)"])[-1]

    def _logged(self) -> list[str]:
        with self.log.open("rb") as log:
            size_bytes = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start_bytes, size_bytes - _LAST_BYTES))
            return log.read().decode(errors="replace").strip().splitlines()


def describe_exit(code: int) -> str:
    """Return `exit code 3` or `signal SIGKILL` for a code as subprocess gives it."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _bind_life_to(parent: int) -> None:
    """Run in the child between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew to tell us
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor blocks signals, and exec keeps the mask
