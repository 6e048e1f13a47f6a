"""Supervision with children of a few lines each."""

import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossfade_cli.processes import Child
from crossfade_cli.supervisor import Patience, StopRequested, Supervisor
from crossfade_core.errors import ProcessFailed
from tests.cli.children import is_running, python
from tests.system.serving import wait_for

QUICK = Patience(grace_seconds=20, first_backoff_seconds=0.01, longest_backoff_seconds=0.05, settled_seconds=600)
"""Nothing settles: a child of a few lines may take any time to start on a busy machine."""
SLEEP = "import time; time.sleep(60)"


class Watched:
    """A supervisor with what it reported."""

    def __init__(self, folder: Path, patience: Patience = QUICK) -> None:
        self.folder = folder
        self.reports: list[str] = []
        self.supervisor = Supervisor(folder, folder, self.reports.append, patience)

    def log(self, name: str) -> list[str]:
        path = self.folder / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []

    def supervise_until(self, is_so: Callable[[], object]) -> None:
        """Supervise in this thread; another sends it SIGTERM once `is_so`."""

        supervising = threading.get_ident()

        def ask_to_stop() -> None:
            try:
                wait_for(is_so)
            finally:
                signal.pthread_kill(supervising, signal.SIGTERM)

        thread = threading.Thread(target=ask_to_stop)
        thread.start()
        try:
            with pytest.raises(StopRequested, match="SIGTERM"):
                self.supervisor.supervise()
        finally:
            thread.join()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_child_that_dies_is_started_again_and_that_is_reported(watched: Watched):
    script = "import os, time; print('up', flush=True); time.sleep(0.05); os.kill(os.getpid(), 9)"
    with watched.supervisor:
        watched.supervisor.start(python(script, "worker"))
        watched.supervise_until(lambda: len(watched.log("worker")) >= 3)
    assert re.search(r"worker ended with signal SIGKILL: up; started again in 0\.\d+ s", watched.reports[0])


def test_the_pause_before_a_restart_grows_to_its_limit(watched: Watched):
    with watched.supervisor:
        watched.supervisor.start(python("import os; os.kill(os.getpid(), 9)", "worker"))
        watched.supervise_until(lambda: len(watched.reports) >= 5)
    pauses = [re.findall(r"again in (\S+) s", line)[0] for line in watched.reports]
    assert pauses[:5] == ["0.02", "0.04", "0.05", "0.05", "0.05"]


def test_a_child_that_fails_each_time_and_never_ran_ends_the_supervision(watched: Watched):
    with watched.supervisor:
        watched.supervisor.start(python("exit('wrong setting')", "worker"))
        with pytest.raises(ProcessFailed, match=r"(?s)worker failed 5 times.*wrong setting"):
            watched.supervisor.supervise()


def test_while_starting_a_child_that_ends_is_an_error_with_its_last_lines(watched: Watched):
    with watched.supervisor:
        watched.supervisor.start(python("print('bad port'); exit(1)", "api"))
        with pytest.raises(ProcessFailed, match=r"(?s)api ended with exit code 1 while starting.*bad port"):
            watched.supervisor.wait_until(lambda: False, "api", 60)


def test_a_child_that_does_not_become_ready_is_an_error_with_its_last_lines(watched: Watched):
    with watched.supervisor:
        watched.supervisor.start(python(f"print('waiting', flush=True); {SLEEP}", "api"))
        wait_for(lambda: watched.log("api"))
        with pytest.raises(ProcessFailed, match=r"(?s)api was not ready after 0.1 s.*waiting"):
            watched.supervisor.wait_until(lambda: False, "api", 0.1)


@pytest.mark.parametrize(
    ("script", "timeout_seconds", "reason"),
    [("exit('no database')", 60, r"(?s)failed with exit code 1.*no database"), (SLEEP, 0.1, "did not end within")],
)
def test_a_child_run_to_its_end_must_end_well_and_in_time(
    watched: Watched, script: str, timeout_seconds: float, reason: str
):
    with watched.supervisor:
        watched.supervisor.run_to_end(python("", "fine"), 60)
        with pytest.raises(ProcessFailed, match=reason):
            watched.supervisor.run_to_end(python(script, "migrate"), timeout_seconds)


def test_stages_are_stopped_in_reverse_each_when_the_one_before_has_ended(watched: Watched, tmp_path: Path):
    script = """
        import signal, sys, time
        def end(*_):
            time.sleep(0.2)
            with open("order", "a") as order: order.write(sys.argv[1] + "\\n")
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("up", flush=True)
        time.sleep(60)
    """
    names = ("redis", "api", "worker")
    with watched.supervisor:
        for name in names:
            child = python(script, name)
            watched.supervisor.start(Child(name, (*child.argv, name), child.env))
        for name in names:
            wait_for(lambda name=name: watched.log(name))
    assert (tmp_path / "order").read_text().split() == ["worker", "api", "redis"]


def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path):
    watched = Watched(tmp_path, Patience(grace_seconds=0.2))
    stubborn = f"import os, signal; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); {SLEEP}"
    with watched.supervisor:
        watched.supervisor.start(python(stubborn, "worker"))
        wait_for(lambda: watched.log("worker"))
    assert not is_running(int(watched.log("worker")[0]))
    assert watched.reports == ["worker did not end by itself; killed"]


def test_the_signal_mask_is_as_before_and_children_have_none(watched: Watched):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with watched.supervisor:
        watched.supervisor.start(
            python("import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))", "child")
        )
        wait_for(lambda: watched.log("child"))
    assert watched.log("child") == ["0"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


FORKING_WORKER = """
import ctypes, os, time
if os.fork() == 0:
    ctypes.CDLL(None).prctl(1, 9)  # as Celery's pool processes do
os.write(1, b"%d\\n" % os.getpid())  # in one piece: two processes write
time.sleep(600)
"""


@contextmanager
def supervising_process(folder: Path, *, ignored: str = "()") -> Iterator[subprocess.Popen[bytes]]:
    """A process that supervises two children that fork, once all four are up; exits with the signal it stopped for."""
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from crossfade_cli.processes import Child
        from crossfade_cli.supervisor import StopRequested, Supervisor
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number in {ignored} else signal.SIG_DFL)
        folder = Path({str(folder)!r})
        try:
            with Supervisor(folder, folder, print) as supervisor:
                for name in ("api", "merge1"):
                    supervisor.start(Child(name, (sys.executable, "-c", {FORKING_WORKER!r}), dict(os.environ)))
                supervisor.supervise()
        except StopRequested as stop:
            sys.exit(stop.signal_number)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        wait_for(lambda: len(children_of(folder)) == 4)
        yield process
    finally:
        process.kill()
        process.wait()


def children_of(folder: Path) -> list[int]:
    return [int(pid) for log in folder.glob("*.log") for pid in log.read_text().split()]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_no_process_is_left_however_the_supervisor_ends(tmp_path: Path, how: signal.Signals):
    with supervising_process(tmp_path) as process:
        process.send_signal(how)
        code = process.wait(120)
    assert code == (-how if how == signal.SIGKILL else how)
    wait_for(lambda: not any(map(is_running, children_of(tmp_path))))


def test_a_signal_that_it_was_started_to_ignore_is_ignored(tmp_path: Path):
    with supervising_process(tmp_path, ignored="(signal.SIGHUP, signal.SIGINT)") as process:
        for how in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            process.send_signal(how)
        assert process.wait(120) == signal.SIGTERM
