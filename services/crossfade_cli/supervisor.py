"""Start children in stages, start again what dies, stop them in reverse: all in one thread that waits for signals."""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from crossfade_cli.processes import Child, RunningChild, describe_exit
from crossfade_core.errors import ProcessFailed

_STOPS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_TICK_SECONDS = 0.2


class StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived; like KeyboardInterrupt no error, and nobody's to catch on the way."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits, in seconds.

    Attributes:
        grace_seconds: From SIGTERM to SIGKILL, for each stage.
        first_backoff_seconds: Before the first restart of a child; doubled each time it dies early.
        longest_backoff_seconds: The most that doubling leads to.
        settled_seconds: A child that ran so long did not die early.
        failed_starts: So many failures in a row by a child that never ran for `settled_seconds` are no accident.
    """

    grace_seconds: float = 20.0
    first_backoff_seconds: float = 0.5
    longest_backoff_seconds: float = 30.0
    settled_seconds: float = 30.0
    failed_starts: int = 5


class _Slot:
    """A child that is kept running, run after run."""

    def __init__(self, child: Child, running: RunningChild) -> None:
        self.child = child
        self.running = running
        self.early_deaths = 0
        self.failed_starts = 0
        self.has_settled = False
        self.restart_at: float | None = None


class Supervisor:
    """Keeps children running; a context manager that ends them all. Signals are blocked while it is entered.

    Args:
        folder: The children's working directory.
        log_dir: Each child logs to NAME.log in it.
        report: Told in one line what happens to a child.
        patience: How long to wait for what.
    """

    def __init__(
        self, folder: Path, log_dir: Path, report: Callable[[str], None], patience: Patience | None = None
    ) -> None:
        self._folder = folder
        self._log_dir = log_dir
        self._report = report
        self._patience = patience or Patience()
        self._stages: list[list[_Slot]] = []
        # What we were started to ignore (nohup, a background job) stays ignored: to block it would deliver it.
        self._stops = {number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN}
        self._wakes = self._stops | {signal.SIGCHLD}

    def __enter__(self) -> Self:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._wakes)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        while signal.sigtimedwait(self._wakes, 0):
            continue  # a second Ctrl-C has been answered by the stop
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def run_to_end(self, child: Child, timeout_seconds: float) -> None:
        """Run a child once.

        Raises:
            ProcessFailed: It ended with another exit code than 0, or not in time.
            StopRequested: A signal asked for it.
        """
        running = self._launch(child)
        try:
            deadline = time.monotonic() + timeout_seconds
            while (code := running.collect()) is None:
                if time.monotonic() > deadline:
                    raise _failure(running, f"did not end within {timeout_seconds:g} s")
                self._pause(_TICK_SECONDS)
        finally:
            running.kill()
        if code != 0:
            raise _failure(running, f"failed with {describe_exit(code)}")

    def start(self, *children: Child) -> None:
        """Start one stage: children that may start and stop at the same time.

        Raises:
            ProcessFailed: One cannot be started.
        """
        stage: list[_Slot] = []
        self._stages.append(stage)  # before the first is launched: should the second fail, the first is stopped
        stage.extend(_Slot(child, self._launch(child)) for child in children)

    def wait_until(self, is_ready: Callable[[], bool], name: str, timeout_seconds: float) -> None:
        """Wait for the child `name` to become ready; while starting up no child may end.

        Raises:
            ProcessFailed: A child ended, or the time is over.
            StopRequested: A signal asked for it.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            for slot in self._slots():
                if (code := slot.running.collect()) is not None:
                    raise _failure(slot.running, f"ended with {describe_exit(code)} while starting")
                if slot.child.name == name and time.monotonic() > deadline:
                    raise _failure(slot.running, f"was not ready after {timeout_seconds:g} s")
            self._pause(_TICK_SECONDS)

    def supervise(self) -> NoReturn:
        """Start again what dies, with a growing pause, until a signal asks to stop.

        Raises:
            StopRequested: A signal asked for it.
            ProcessFailed: A child fails each time it is started and never ran.
        """
        while True:
            for slot in self._slots():
                self._look_after(slot)
            self._pause(_TICK_SECONDS)

    def stop(self) -> None:
        """End every child, the last stage first: SIGTERM, then SIGKILL; a second signal asks for SIGKILL at once."""
        while self._stages:
            stage = self._stages[-1]
            for slot in stage:
                slot.running.terminate()
            self._wait_for_end(stage)
            for slot in stage:
                if slot.running.collect() is None:
                    self._report(f"{slot.child.name} did not end by itself; killed")
                    slot.running.kill()
            self._stages.pop()

    def _wait_for_end(self, stage: list[_Slot]) -> None:
        deadline = time.monotonic() + self._patience.grace_seconds
        while time.monotonic() < deadline and any(slot.running.collect() is None for slot in stage):
            try:
                self._pause(_TICK_SECONDS)
            except StopRequested:
                return

    def _look_after(self, slot: _Slot) -> None:
        if slot.restart_at is None:
            if (code := slot.running.collect()) is not None:
                self._note_end(slot, code)
                self._schedule(slot, f"ended with {describe_exit(code)}: {slot.running.last_line()}")
        elif time.monotonic() >= slot.restart_at:
            try:
                slot.running = self._launch(slot.child)
                slot.restart_at = None
            except ProcessFailed as error:
                self._schedule(slot, error.message)

    def _note_end(self, slot: _Slot, code: int) -> None:
        ran_long = slot.running.age_seconds >= self._patience.settled_seconds
        slot.has_settled |= ran_long
        slot.early_deaths = 0 if ran_long else slot.early_deaths + 1
        slot.failed_starts += code > 0  # by a signal: somebody's will, or memory, and no sign of a wrong start
        if not slot.has_settled and slot.failed_starts >= self._patience.failed_starts:
            raise _failure(slot.running, f"failed {slot.failed_starts} times and never ran")

    def _schedule(self, slot: _Slot, what: str) -> None:
        doubled_seconds = self._patience.first_backoff_seconds * 2 ** min(slot.early_deaths, 16)
        pause_seconds = min(doubled_seconds, self._patience.longest_backoff_seconds)
        slot.restart_at = time.monotonic() + pause_seconds
        self._report(f"{slot.child.name} {what}; started again in {pause_seconds:g} s (log: {slot.running.log})")

    def _launch(self, child: Child) -> RunningChild:
        return RunningChild(child, self._log_dir / f"{child.name}.log", self._folder)

    def _slots(self) -> Iterator[_Slot]:
        return (slot for stage in self._stages for slot in stage)

    def _pause(self, seconds: float) -> None:
        """Sleep, but wake when a child ends; raise when asked to stop."""
        received = signal.sigtimedwait(self._wakes, seconds)
        if received is not None and received.si_signo in self._stops:
            raise StopRequested(received.si_signo)


def _failure(running: RunningChild, what: str) -> ProcessFailed:
    return ProcessFailed(
        f"{running.name} {what}; the end of {running.log}:\n{running.last_lines()}", log=str(running.log)
    )
