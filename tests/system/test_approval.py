"""The gate of docs/approval.md is run as it stands there; a decision is carried out whatever is killed."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from crossfade_client import Client
from tests.system.serving import PAIR, Service, kill_tree, serving, wait_for

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/approval.md").read_text()
OPERATOR_TOKEN = "the-operators-own-token"
SPEC = {"base": "local://demo/pair/base", "instruct": "local://demo/pair/instruct", "destination": "releases"}


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def guarding(folder: Path) -> dict[str, Any]:
    """Return registries with a place for trials, and one for releases as on the page."""
    places = json.loads(block("json"))["destinations"]
    places |= {"trials": {"path": "", "kind": "local"}}
    for name, place in places.items():
        place["path"] = str(folder / name)
        (folder / name).mkdir()
    return {"destinations": places}


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def suspend_between_writes(process: psutil.Process, database: Path) -> None:
    """Suspend a process and its children so that they do not hold the write lock of the SQLite database."""
    family = [process, *process.children(recursive=True)]
    while True:
        for member in family:
            member.suspend()
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
            return
        for member in family:
            member.resume()
        time.sleep(0.05)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = {"api_token": OPERATOR_TOKEN, "sweep_seconds": "0.5", "lease_seconds": "2"}
    with serving(tmp_path, {"demo": PAIR.parent}, registries=guarding(tmp_path), **settings) as service:
        yield service


def test_gate_of_the_page_releases_what_was_tried_and_nothing_else(service: Service, tmp_path: Path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "CROSSFADE_URL": service.url,
        "OPERATOR_TOKEN": OPERATOR_TOKEN,
        "GITHUB_RUN_ID": "4711",
        "BASE": SPEC["base"],
        "INSTRUCT": SPEC["instruct"],
    }
    (tmp_path / "evaluate.sh").write_text('test -s "$1/lineage.json"\n')
    for code in (block("sh"), block("bash")):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "0.3\tFAILED\tREJECTED\tgate\tnot chosen in run 4711",
        "0.5\tPUBLISHED\tAPPROVED\tgate\tevaluated in run 4711",
    ]
    assert visible(tmp_path / "releases") == ["instruct-pad-0.5"]
    with Client(service.url, (tmp_path / "build.key").read_text().strip()) as client:
        staged = json.loads((tmp_path / "staged.json").read_text())
        refused = subprocess.run(
            ["bash", "-c", f"CROSSFADE_TOKEN=$(cat build.key) crossfade approve {staged['id']} --lambda 0.5"],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert client.get(staged["id"]).outputs[1].decided_by == "gate"
    assert (refused.returncode, "may not approve" in refused.stderr) == (1, True)


def test_decision_outlives_the_worker_and_the_broker_that_were_to_carry_it_out(service: Service, tmp_path: Path):
    with Client(service.url, OPERATOR_TOKEN, patience_seconds=60) as client:
        job = client.wait(client.submit({**SPEC, "lambdas": [0.5]}).id, until_staged=True)
        staged = {file.name: file.sha256 for file in job.outputs[0].files}
        assert visible(tmp_path / "releases") == []
        control, broker = service.child("control"), service.child("redis")
        suspend_between_writes(control, tmp_path / "state/crossfade.db")
        approved = client.approve(job.id, 0, reason="fine")
        assert (approved.outputs[0].state, approved.outputs[0].approval) == ("STAGED", "APPROVED")
        for process in (control, broker):
            kill_tree(process)
        wait_for(lambda: visible(tmp_path / "releases"), 120)
        ended = client.wait(job.id, timeout_seconds=60)
    assert ended.state == "SUCCEEDED"
    assert {file.name: file.sha256 for file in ended.outputs[0].files} == staged
    assert not (tmp_path / "releases" / ".crossfade-staging").exists()


def test_every_page_that_is_pointed_to_is_there():
    cited = re.findall(r"`(tests/[\w/]+\.py)`", PAGE)
    assert cited
    assert [path for path in cited if not (ROOT / path).exists()] == []
