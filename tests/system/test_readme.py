"""The README is run: every code block, in order, as a newcomer would, in a folder of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.held_ports import held_port
from tests.system.serving import wait_for

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's relative paths lie."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "infra").symlink_to(ROOT / "infra")
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A free address instead of the README's default one, which this machine may use already."""
    with held_port() as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def environment(folder: Path, address: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    state = str(folder / "state")
    return {**os.environ, "PATH": path, "XDG_STATE_HOME": state, "CROSSFADE_URL": f"http://{address}"}


@pytest.fixture(scope="module")
def served(folder: Path, address: str, environment: dict[str, str]) -> Iterator[None]:
    """The README's own `crossfade serve`, as long as this module's tests run."""
    (command,) = [block for language, block in BLOCKS if block.startswith("crossfade serve")]
    command = f"exec {command.strip()} --port {address.split(':')[1]}"
    process = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment)
    try:
        wait_for(lambda: is_ready(address), 120)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(180) == 130


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.mark.usefixtures("served")
def test_readme_blocks_run_in_their_order(folder: Path, address: str, environment: dict[str, str]) -> None:
    # In one test: a block goes on from those before it, and tests of one file may run in several processes.
    for language, block in BLOCKS:
        if block.startswith("crossfade serve"):
            continue  # it has been running since the first block
        where = ROOT if block.startswith("make ") else folder
        program = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        code = block.replace("127.0.0.1:8000", address)
        done = subprocess.run([*program, code], check=False, cwd=where, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, block + done.stdout + done.stderr


def test_the_readme_has_the_blocks_it_is_known_for() -> None:
    assert len(BLOCKS) >= 7
    assert {"make demo", "crossfade merge", "crossfade serve", "crossfade submit", "curl"} <= {
        start
        for _, block in BLOCKS
        for start in ("make demo", "crossfade merge", "crossfade serve", "crossfade submit", "curl")
        if block.startswith(start)
    }


def test_every_file_the_readme_points_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_targets_the_readme_names_exist() -> None:
    targets = re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text())
    for target in {*targets, "demo"}:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
