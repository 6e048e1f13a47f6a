"""`make demo`'s program: what it replaces, and that it leaves no process behind. Its good end is for `.ci/run`."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import clean_environment
from tests.cli.test_serve import processes_of
from tests.system.serving import wait_for

DEMO = Path(__file__).parents[2] / "infra/demo/run.py"


def start(folder: Path) -> subprocess.Popen[str]:
    """Run the demo in `folder`, its temporary files there as well."""
    return subprocess.Popen(
        [sys.executable, str(DEMO)],
        cwd=folder,
        env=clean_environment() | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_folder_that_no_demo_made_is_not_touched(tmp_path: Path):
    kept = tmp_path / "demo-out/thesis.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    said, _ = (demo := start(tmp_path)).communicate(timeout=60)
    assert demo.returncode == 1
    assert "was not made by a demo" in said
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_process_is_left_however_it_ends(tmp_path: Path, how: signal.Signals, code: int):
    demo = start(tmp_path)
    assert demo.stdout is not None
    assert "the service is up" in demo.stdout.readline()
    assert demo.stdout.readline().startswith("job ")  # its `crossfade submit` knows by now what to do of a signal
    demo.send_signal(how)
    said, _ = demo.communicate(timeout=180)
    assert demo.returncode == code
    assert "Traceback" not in said
    wait_for(lambda: not processes_of(tmp_path))
