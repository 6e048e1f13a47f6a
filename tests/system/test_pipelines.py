"""The release pipelines of docs/pipelines.md are run as they stand there, against a guarded service with webhooks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from crossfade_client import Client
from crossfade_core.own_files import LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE
from tests.held_ports import held_port
from tests.system.serving import PAIR, serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/pipelines.md").read_text()
OPERATOR_TOKEN = "the-operators-own-token"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """A free port instead of the page's 9000."""
    with held_port() as port:
        yield str(port)


@pytest.fixture(scope="module")
def environment(folder: Path, port: str) -> Iterator[dict[str, str]]:
    """What a step of the workflow has; the service behind it, with the operator's block run."""
    with serving(folder, {"demo": PAIR.parent}, api_token=OPERATOR_TOKEN) as service:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        given = {**os.environ, "PATH": path, "CROSSFADE_URL": service.url, "OPERATOR_TOKEN": OPERATOR_TOKEN}
        subprocess.run(["bash", "-euo", "pipefail", "-c", block("sh")], cwd=folder, env=given, check=True)
        del given["OPERATOR_TOKEN"]
        yield {
            **given,
            "CROSSFADE_TOKEN": (folder / "release.key").read_text().strip(),
            "RECEIVER_URL": f"http://127.0.0.1:{port}/",
            "BASE": "local://demo/pair/base",
            "INSTRUCT": "local://demo/pair/instruct",
            "DESTINATION": "outputs",
            "GITHUB_RUN_ID": "4711",
        }


def run(program: list[str], code: str, folder: Path, environment: dict[str, str], port: str) -> str:
    code = code.replace("9000", port)
    done = subprocess.run([*program, code], check=False, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_outcome(environment: dict[str, str], model: Path, prefix: str) -> None:
    """See that one job was made, that its end was told once and taken, and that no webhook is left."""
    lineage = json.loads((model / "lineage.json").read_text())
    assert lineage["lambda"] == 0.5
    sizes = {name: facts["size_bytes"] for name, facts in lineage["outputs"].items()}
    written_after = {LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE}
    assert {file.name: file.stat().st_size for file in model.iterdir() if file.name not in written_after} == sizes
    with Client(environment["CROSSFADE_URL"], environment["CROSSFADE_TOKEN"]) as client:
        jobs = [job for job in client.jobs(labels={"run": "4711"}) if job.outputs[0].name.startswith(prefix)]
        assert [job.state for job in jobs] == ["SUCCEEDED"]
        assert client.webhooks.list().items == ()


def test_shell_script_releases_a_model_and_again_when_it_is_run_again(folder, environment, port):
    script = ["bash", "-c"]
    told = run(script, block("bash"), folder, environment, port)
    message = next(json.loads(line) for line in told.splitlines() if line.startswith('{"id": "msg-'))
    assert message["type"] == "job.succeeded"
    assert message["data"]["labels"] == {"run": "4711"}
    check_outcome(environment, folder / "model", "instruct-4711")
    # "Re-run jobs" finds the folder of the first run on no fresh runner.
    (folder / "model").rename(folder / "first")
    run(script, block("bash"), folder, environment, port)
    check_outcome(environment, folder / "model", "instruct-4711")
    for file in (folder / "model").iterdir():
        assert file.read_bytes() == (folder / "first" / file.name).read_bytes()


def test_python_script_releases_a_model(folder, environment, port):
    told = run([sys.executable, "-c"], block("python"), folder, environment, port)
    assert [line.split()[0] for line in told.splitlines()[:2]] == ["0.3", "0.5"]
    check_outcome(environment, folder / "model-python", "python-4711")


def test_message_on_the_page_is_of_the_form_that_is_sent(folder, environment, port):
    shown = json.loads(block("json"))
    with Client(environment["CROSSFADE_URL"], OPERATOR_TOKEN) as client:
        hook = client.webhooks.create(environment["RECEIVER_URL"], every_job=True)
        job = client.submit(
            {
                "base": environment["BASE"],
                "instruct": environment["INSTRUCT"],
                "lambdas": [0.5],
                "destination": "outputs",
                "output_name": "message-{lambda}",
            }
        )
        client.wait(job.id).require_success()
        (sent,) = client.webhooks.deliveries(hook.id).items
        client.webhooks.delete(hook.id)
    assert sent.type == shown["type"]
    assert sent.data.keys() == shown["data"].keys()


def test_workflow_on_the_page_runs_the_script_with_what_it_needs():
    (job,) = yaml.safe_load(block("yaml"))["jobs"].values()
    assert job["steps"][-1] == {"run": "bash release.sh"}
    asked = set(re.findall(r"\$\{?([A-Z_]+)", block("bash"))) - {"CROSSFADE_WEBHOOK_SECRET", "GITHUB_RUN_ID"}
    assert asked <= job["env"].keys()


def test_every_page_that_is_pointed_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
