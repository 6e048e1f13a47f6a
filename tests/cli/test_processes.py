"""One child: its log, its end, and everything it started."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from crossfade_cli.processes import Child, RunningChild, describe_exit
from crossfade_core.errors import ProcessFailed
from tests.cli.children import is_running, python
from tests.system.serving import wait_for


def end_of(running: RunningChild) -> int:
    wait_for(lambda: running.collect() is not None)
    code = running.collect()
    assert code is not None
    return code


@pytest.mark.parametrize(
    ("script", "described"), [("exit(3)", "exit code 3"), ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL")]
)
def test_the_exit_is_told(tmp_path: Path, script: str, described: str):
    assert describe_exit(end_of(RunningChild(python(script), tmp_path / "log", tmp_path))) == described


def test_a_running_child_has_no_exit(tmp_path: Path):
    running = RunningChild(python("import time; time.sleep(60)"), tmp_path / "log", tmp_path)
    assert running.collect() is None
    running.kill()
    assert running.collect() == -9


def test_the_last_lines_are_those_of_the_last_run(tmp_path: Path):
    log = tmp_path / "log"
    end_of(RunningChild(python("print('first run')"), log, tmp_path))
    second = RunningChild(python("for i in range(100): print('line', i)"), log, tmp_path)
    end_of(second)
    assert second.last_lines().splitlines() == [f"  line {i}" for i in range(85, 100)]
    assert second.last_line() == "line 99"
    assert log.read_text().startswith("first run\n")


def test_a_child_that_says_nothing_has_last_lines_too(tmp_path: Path):
    running = RunningChild(python(""), tmp_path / "log", tmp_path)
    end_of(running)
    assert (running.last_lines(), running.last_line()) == ("  (nothing)", "(nothing logged)")


def test_a_program_that_is_not_there_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(ProcessFailed, match=r"redis cannot be started.*no-such-program"):
        RunningChild(Child("redis", ("no-such-program",), {}), tmp_path / "log", tmp_path)


def test_what_a_child_leaves_behind_is_killed_with_it(tmp_path: Path):
    script = """
        import subprocess, sys
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(left.pid, flush=True)
    """
    running = RunningChild(python(script), tmp_path / "log", tmp_path)
    assert end_of(running) == 0
    left = int(running.last_line())
    wait_for(lambda: not is_running(left))


def test_a_child_dies_with_its_parent_even_by_sigkill(tmp_path: Path):
    parent_script = f"""
        import os, sys, time
        from pathlib import Path
        from crossfade_cli.processes import Child, RunningChild
        child = Child("child", (sys.executable, "-c", "import time; time.sleep(60)"), dict(os.environ))
        print(RunningChild(child, Path({str(tmp_path / "log")!r}), Path("/")).pid, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent_script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    wait_for(lambda: not is_running(child))
