"""The Hub as a process of its own, and what becomes of its own faults."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.utils import get_session

from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import WEIGHTS, checkpoint, get

# huggingface_hub 2.4.0 hands files to httpx2 as `data=`, which that has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_the_hub_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model")
    command = [sys.executable, "-m", "tests.fakes.hub", "--folder", str(tmp_path / "hub")]
    options = ["--repo", f"acme/model={folder}", "--token", "hf_alice:alice:acme", "--bytes-per-second", "1e9"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE) as process:
        try:
            urls = json.loads(process.stdout.readline())
            url = f"{urls['hub']}/acme/model/resolve/main/model.safetensors"
            assert get(url, "hf_alice").content == WEIGHTS
            counters = get(f"{urls['hub']}/_counters").json()
            assert counters["bytes_read"] == {"acme/model/model.safetensors": len(WEIGHTS)}
            assert [each["origin"] for each in counters["requests"]] == ["hub", "storage"]
            get_session().delete(f"{urls['hub']}/_counters")
            assert get(f"{urls['hub']}/_counters").json()["requests"] == []
        finally:
            process.terminate()
    assert process.returncode == 0


def test_what_fails_in_the_server_itself_fails_the_test(tmp_path: Path) -> None:
    hub = Hub(tmp_path).__enter__()
    hub.add_token("hf_alice", "alice")
    answer = get_session().post(f"{hub.url}/api/repos/create", headers={"Authorization": "Bearer hf_alice"}, json={})
    assert answer.status_code == 500
    with pytest.raises(AssertionError, match="the Hub of the tests failed"):
        hub.__exit__(None, None, None)
