"""Install OpenStack Swift for the tests, once for each checkout, into an environment of its own.

Its own, because Swift replaces sockets and threads by eventlet's and its pins are not ours. `python -m
tests.swift_install` does it ahead of the tests; a test that needs Swift does it otherwise.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from crossfade_core.errors import ProgramMissing

REQUIREMENTS = Path(__file__).with_name("swift_requirements.txt")
FOLDER = Path(__file__).parent.parent / ".swift"


def swift_programs(folder: Path = FOLDER) -> Path:
    """Return the folder of Swift's programs and its Python, after installing them where they are missing or older.

    Raises:
        ProgramMissing: The installation failed; pip's or venv's own words come with it.
    """
    folder.mkdir(exist_ok=True)
    venv = folder / "venv"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two runs of the tests in one checkout one installs, the other waits
        if not _is_installed(venv):
            print(f"installing OpenStack Swift for the S3 tests into {venv}, once (seconds to a minute)", flush=True)
            _install(venv)
    return venv / "bin"


def _install(venv: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(venv)])
    pip = [str(venv / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--prefer-binary", "--requirement", str(REQUIREMENTS)])
    _marker(venv).write_text(_wanted(venv))  # last: what was interrupted is begun again


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ProgramMissing(
            f"the S3 tests need OpenStack Swift, and installing it failed with exit code {done.returncode}: "
            f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        )


def _is_installed(venv: Path) -> bool:
    marker = _marker(venv)
    return marker.is_file() and marker.read_text() == _wanted(venv) and (venv / "bin/python").exists()


def _wanted(venv: Path) -> str:
    """Return what makes an environment another: where it lies (it cannot be moved), its interpreter, its packages."""
    packages = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    return f"{venv.absolute()} {sys.version} {packages}\n"


def _marker(venv: Path) -> Path:
    return venv / ".installed"


if __name__ == "__main__":
    swift_programs()
