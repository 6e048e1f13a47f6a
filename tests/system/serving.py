"""Run the real `crossfade serve` for a test: every process, a private Redis, SQLite; stopped at the end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil

CLI = str(Path(sys.executable).with_name("crossfade"))
PAIR = Path(__file__).parents[2] / "infra/demo/pair"
TERMINAL = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"}


class Service:
    """A running service, and what tests ask of it."""

    def __init__(self, process: subprocess.Popen[str], ready: Mapping[str, Any], client: httpx.Client) -> None:
        self.process = process
        self.url = str(client.base_url).rstrip("/")
        self.client = client
        self.ready = ready

    def submit(self, **spec: Any) -> dict[str, Any]:
        """Submit a job and return it as accepted."""
        answer = self.client.post("/v1/merges", json={"destination": "outputs", **spec})
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/merges/{answer.json()['id']}"
        return answer.json()

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as it stands."""
        return self.client.get(f"/v1/merges/{job_id}").raise_for_status().json()

    def wait(self, job_id: str, seconds: float = 300) -> dict[str, Any]:
        """Wait until a job has ended, also while the API is away."""

        def ended() -> dict[str, Any] | None:
            try:
                job = self.job(job_id)
            except httpx.TransportError:
                return None
            return job if job["state"] in TERMINAL else None

        return wait_for(ended, seconds)

    def child(self, name: str) -> psutil.Process:
        """Return the process that `serve` calls `name`: redis, api, control, merge1."""
        sign = {"redis": "redis-server", "api": "crossfade_api"}.get(name, f"{name}@%h")
        for process in psutil.Process(self.process.pid).children():
            words = [Path(word).name for word in " ".join(process.cmdline()).split() if "unixsocket:" not in word]
            if sign in words:
                return process
        raise AssertionError(f"no {name} runs")


def wait_for(ask: Any, seconds: float = 180) -> Any:
    """Ask until the answer is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.02)
    return answer


def kill_tree(process: psutil.Process) -> None:
    """SIGKILL a process and its children at once, so that nothing gets to clean up.

    A child may end by itself meanwhile, as the `uname` that Celery runs at each start.
    """
    family = [process, *process.children(recursive=True)]
    for act in (psutil.Process.suspend, psutil.Process.kill):
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                act(member)


@contextlib.contextmanager
def serving(
    folder: Path,
    roots: Mapping[str, Path],
    *,
    threads: int = 0,
    destinations: Mapping[str, Path] = MappingProxyType({}),
    registries: Mapping[str, Any] | None = None,
    **settings: str,
) -> Iterator[Service]:
    """Serve with state and outputs below `folder`, and further destinations; `settings` are CROSSFADE_ variables."""
    command = [CLI, "serve", "--json", "--port", "0", "--state-dir", folder / "state", "--threads", str(threads)]
    for name, place in {"outputs": folder / "outputs", **destinations}.items():
        command += ["--destination", f"{name}={place}"]
    for name, root in roots.items():
        command += ["--root", f"{name}={root}"]
    if registries is not None:
        (folder / "registries.json").write_text(json.dumps(registries))
        command += ["--registries", folder / "registries.json"]
    environment = {**os.environ, **{f"CROSSFADE_{name.upper()}": value for name, value in settings.items()}}
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "serve.log").read_text()
        ready = json.loads(line)
        with httpx.Client(base_url=ready["url"], timeout=120) as client:
            yield Service(process, ready, client)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(180) == 0
        process.stdout.close()
