"""The service as it runs: `crossfade serve` with its own processes, jobs by HTTP, what they took and what they held."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from crossfade_cli.processes import Child, RunningChild
from tests.bench.registries import OUTPUTS, Registry
from tests.bench.registry_servers import START_SECONDS, announced
from tests.bench.watch import ScratchWatch, cpu_seconds, peak_bytes, resident_bytes, restart_peak

CLI: Final = str(Path(sys.executable).with_name("crossfade"))
WARM_UPS: Final = 10
_ENDED: Final = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"}
_ASK_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Job:
    """What one job took.

    Attributes:
        seconds: From its submission until it had succeeded.
        phases: How long each of its phases lasted, as the API showed them.
        outputs: Names, in the order of λ.
        output_bytes: Of all files of all outputs.
        shards: SHA-256 of each output's shards, as the service states them.
        above_idle_bytes: Most that a merge worker held beyond what it held after the small job.
        peak_bytes: Most that a merge worker held, the interpreter and its libraries included.
        scratch_bytes: Most room that files in scratch took at one time.
        cpu_seconds: Of all the service's processes.
    """

    seconds: float
    phases: Mapping[str, float]
    outputs: Sequence[str]
    output_bytes: int
    shards: Sequence[Mapping[str, str]]
    above_idle_bytes: int
    peak_bytes: int
    scratch_bytes: int
    cpu_seconds: float


class Service:
    """A running service.

    Args:
        url: Of its API.
        serve: The supervisor's process.
        folder: Its state's.
        scratch: Where its processes put temporary files of any kind.
        workers: How many merge.
    """

    def __init__(self, url: str, serve: RunningChild, folder: Path, *, scratch: Path, workers: int) -> None:
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=START_SECONDS)
        self._serve, self._state, self._scratch, self._workers = serve, folder, scratch, workers
        self._idle: dict[int, int] = {}

    def warm_up(self, base: str, instruct: str) -> None:
        """Run small jobs until every merge worker has done a unit, and loaded what it needs for that.

        Raises:
            RuntimeError: One never got any.
        """
        logs = [self._state / "logs" / f"merge{number}.log" for number in range(1, self._workers + 1)]
        for _ in range(WARM_UPS):
            if all("unit.done" in log.read_text() for log in logs):
                self._idle = {pid: resident_bytes(pid) for pid in self._merging()}
                return
            self._run({"base": base, "instruct": instruct, "lambdas": [0.5], "overwrite": True})
        raise RuntimeError(
            f"after {WARM_UPS} jobs there is a worker that did no unit; look into {self._state / 'logs'}"
        )

    def merge(self, base: str, instruct: str, lambdas: Sequence[float], *, output_name: str) -> Job:
        """Run a job and measure it; its memory against what the workers held after `warm_up`."""
        spec = {"base": base, "instruct": instruct, "lambdas": list(lambdas), "output_name": output_name}
        everybody = [process.pid for process in psutil.Process(self._serve.pid).children(recursive=True)]
        for pid in self._idle:
            restart_peak(pid)
        cpu_before = cpu_seconds(everybody)
        with ScratchWatch(everybody, self._scratch) as scratch:
            started = time.monotonic()
            job, phases = self._run(spec)
            seconds = time.monotonic() - started
        files = {output["name"]: output["files"] for output in job["outputs"]}
        return Job(
            seconds=seconds,
            phases=phases,
            outputs=list(files),
            output_bytes=sum(file["size_bytes"] for listed in files.values() for file in listed),
            shards=[_shards(listed) for listed in files.values()],
            above_idle_bytes=max(peak_bytes(pid) - before for pid, before in self._idle.items()),
            peak_bytes=max(map(peak_bytes, self._idle)),
            scratch_bytes=scratch.most_bytes,
            cpu_seconds=cpu_seconds(everybody) - cpu_before,
        )

    def close(self) -> None:
        """Let go of the API."""
        self._client.close()

    def _run(self, spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
        answer = self._client.post("/v1/merges", json={"destination": OUTPUTS, **spec})
        if answer.status_code != httpx.codes.ACCEPTED:
            raise RuntimeError(f"the service refused a job: {answer.text}")
        job, phases, since = answer.json(), dict[str, float](), time.monotonic()
        while job["state"] not in _ENDED:
            time.sleep(_ASK_SECONDS)
            phase = job["phase"] or job["state"]
            job = self._client.get(f"/v1/merges/{job['id']}").raise_for_status().json()
            since, before = time.monotonic(), since
            phases[phase] = phases.get(phase, 0) + since - before
        if job["state"] != "SUCCEEDED":
            raise RuntimeError(f"the job ended as {job['state']}: {json.dumps(job.get('error'))}")
        return job, phases

    def _merging(self) -> list[int]:
        """Return the processes that merge: the one child of each merge worker."""
        found = [
            worker.children()[0].pid
            for worker in psutil.Process(self._serve.pid).children()
            if any(word.startswith("merge") and word.endswith("@%h") for word in worker.cmdline())
        ]
        if len(found) != self._workers:
            raise RuntimeError(f"{self._workers} merge workers expected, {len(found)} found")
        return found


@contextlib.contextmanager
def service(folder: Path, registry: Registry, workers: int) -> Iterator[Service]:
    """Serve with state, scratch and whatever the clients keep below `folder`."""
    scratch, state = folder / "scratch", folder / "state"
    for made in (scratch, folder / "local"):
        made.mkdir(parents=True)
    (folder / "registries.json").write_text(json.dumps(registry.registries))
    command = [CLI, "serve", "--json", "--port", "0", "--state-dir", str(state), "--workers", str(workers)]
    command += ["--destination", f"local={folder / 'local'}", "--root", f"local={folder / 'local'}"]
    command += ["--registries", str(folder / "registries.json")]
    env = {**client_environment(folder), "CROSSFADE_SCRATCH": str(scratch), "TMPDIR": str(scratch)}
    serve = RunningChild(Child("serve", command, env), folder / "serve.log", folder)
    with contextlib.ExitStack() as stack:
        stack.callback(_stop, serve)
        running = Service(announced(serve)["url"], serve, state, scratch=scratch, workers=workers)
        stack.callback(running.close)
        yield running


def client_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which clients know nothing of this machine's user, and keep what they keep in `folder`.

    Without Xet: the tests' Hub keeps that in folders, which no limit and no counter sees.
    """
    ours = ("CROSSFADE_", "HF_", "HUGGING_FACE_", "AWS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    own = {"HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**kept, **own, "HF_HUB_DISABLE_TELEMETRY": "1"}


def _stop(serve: RunningChild) -> None:
    serve.terminate()
    deadline = time.monotonic() + START_SECONDS
    while serve.collect() is None and time.monotonic() < deadline:
        time.sleep(_ASK_SECONDS)
    serve.kill()


def _shards(files: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {file["name"]: file["sha256"] for file in files if file["name"].endswith(".safetensors")}
