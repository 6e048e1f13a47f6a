"""docs/rebuilding.md is run on what a real service has published, which told OpenLineage of it meanwhile."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from crossfade_worker.verdict import Cause
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.system.serving import PAIR, serving

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/rebuilding.md").read_text(), re.DOTALL)


def run(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )


def test_the_commands_of_the_page_reproduce_a_published_output(tmp_path, monkeypatch):
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    (tmp_path / "published").symlink_to(tmp_path / "outputs")
    with WebhookReceiver() as catalogue:
        monkeypatch.setenv("OPENLINEAGE_URL", catalogue.url)
        with serving(tmp_path, {"demo": PAIR}) as service:
            sources = {"base": "local://demo/base", "instruct": "local://demo/instruct"}
            submitted = service.submit(**sources, lambdas=[0.5, 1.0], rounding="stochastic")
            job = service.wait(submitted["id"])
            assert job["state"] == "SUCCEEDED", job
            told = [json.loads(request.body) for request in catalogue.wait_for(3, 60)]
        # The service is stopped, and nothing of it is asked.
    said = [run(block, tmp_path) for block in BLOCKS]
    assert [(done.returncode, done.stderr) for done in said if done.returncode] == []
    assert said[0].stdout.startswith("reproduced, bit for bit: λ = 0.5, ")
    rebuilt = json.loads((tmp_path / "rebuilt.json").read_text())
    assert rebuilt["reproduced"] is True
    assert {role: told["uri"] for role, told in rebuilt["inputs"].items()} == sources
    assert {told["by"] for told in rebuilt["inputs"].values()} == {"source"}
    assert sorted(event["eventType"] for event in told) == ["COMPLETE", "RUNNING", "START"]
    assert {event["run"]["facets"]["crossfade"]["jobId"] for event in told} == {job["id"]}
    (end,) = (event for event in told if event["eventType"] == "COMPLETE")
    assert [dataset["facets"]["crossfade"]["uri"] for dataset in end["outputs"]] == [
        output["uri"] for output in job["outputs"]
    ]


def test_every_cause_of_the_page_is_one_that_is_told():
    causes = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "docs/rebuilding.md").read_text(), re.MULTILINE)
    assert causes == ["cause", *(cause.value for cause in Cause)]  # the first is the table's heading
