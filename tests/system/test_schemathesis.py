"""The OpenAPI document is true: schemathesis, with all its checks and in all its phases, finds nothing to say."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.checkpoints import random_pair
from tests.fakes.hub import Hub
from tests.system.fleet import Fleet

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("st")
TOKEN = "token-of-the-operator"
OPERATIONS = 29
COVERED_LINKS = 10
LINKED_ACTIONS = {"merge.submitted", "webhook.created", "webhook.deleted", "key.created", "key.revoked"}


@pytest.fixture
def api(tmp_path, redis_url) -> Iterator[httpx.Client]:
    """An API process of its own; the Hub that it reads from is one of the tests', empty."""
    random_pair(tmp_path / "models")
    urls = (f"sqlite:///{tmp_path}/jobs.db", redis_url)
    with Hub(tmp_path / "hub") as hub:
        settings = {
            "api_token": TOKEN,
            "webhook_key": "a key of the service that is long enough",
            "requests_per_minute": 0,
            "hub": json.dumps({"endpoint": hub.url}),
        }
        with Fleet(tmp_path, tmp_path / "models", urls, **settings) as fleet, fleet.api() as client:
            client.headers["authorization"] = f"Bearer {TOKEN}"
            yield client


def run(api: httpx.Client, folder: Path, phases: str, *further: str, key: str = TOKEN, seed: int = 1) -> str:
    """Run schemathesis in an empty folder, with the secret in its environment, and return what it printed."""
    config, document = HERE / "schemathesis.toml", f"{api.base_url}/openapi.json"
    command = [PROGRAM, "--no-color", f"--config-file={config}", "run", document, "--checks", "all", *further]
    command += ["--phases", phases, "--seed", str(seed)]
    paths = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "CROSSFADE_FUZZ_KEY": key, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    return done.stdout


def done_by_the_run(api: httpx.Client) -> set[str]:
    done: set[str] = set()
    page: dict[str, str] = {}
    while True:
        found = api.get("/v1/audit", params={"limit": 200, **page}).json()
        done |= {entry["action"] for entry in found["items"]}
        if found["next"] is None:
            return done
        page = {"page": found["next"]}


def test_every_operation_keeps_what_the_document_says(api, tmp_path):
    assert f"Tested: {OPERATIONS}\n" in run(api, tmp_path, "examples,coverage,fuzzing", "--max-examples=10")


def test_what_one_call_gives_the_next_one_takes(api, tmp_path):
    covered: list[int] = []
    for seconds in (45, 90, 180):  # it goes on for so long; how far it comes by then is the machine's speed
        told = run(api, tmp_path, "stateful", f"--max-time={seconds}")
        covered += map(int, re.findall(r"(\d+) covered", told))
        if max(covered) >= COVERED_LINKS and done_by_the_run(api) >= LINKED_ACTIONS:
            return
    pytest.fail(f"of the links {covered} were covered, of the actions {sorted(done_by_the_run(api))}")


@pytest.mark.slow
def test_key_that_may_only_read_is_refused_as_documented(api, tmp_path):
    made = api.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()
    run(api, tmp_path, "examples,coverage,fuzzing", "--max-examples=1", key=made["secret"])
    assert done_by_the_run(api) <= {"key.created", "webhook.created", "webhook.deleted", "webhook.rotated"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_other_seeds_and_more_examples_find_nothing_either(api, tmp_path, seed):
    run(api, tmp_path, "examples,coverage,fuzzing,stateful", "--max-examples=60", seed=seed)
