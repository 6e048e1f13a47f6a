"""`crossfade serve`: the whole service on one machine. Composes the processes; what each does is its package's."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import httpx

from crossfade_cli.embedded_redis import answers, broker_url, find_redis_server, redis_child, socket_path
from crossfade_cli.printing import print_line
from crossfade_cli.processes import Child
from crossfade_cli.serve_announcement import announce
from crossfade_cli.serve_keys import SIGNING, open_signing, webhook_environment
from crossfade_cli.supervisor import StopRequested, Supervisor
from crossfade_core.errors import ProcessFailed, ProgramMissing, StateDirInUse
from crossfade_core.messages import CONTROL_QUEUE, MERGE_QUEUE

_START_SECONDS = 120.0
_READY_ASK_SECONDS = 2.0
_INTERRUPTED = 130
REGISTRY_PARTS: Final = frozenset({"buckets", "hub", "destinations", "credentials"})
"""Of `crossfade_registries.settings.RegistrySettings`; folders have options of their own."""
_NEEDED = {"api": ("fastapi", "uvicorn"), "worker": ("torch", "celery", "sqlalchemy")}


@dataclass(frozen=True)
class ServeOptions:
    """What `crossfade serve` was asked for; every path absolute."""

    state_dir: Path
    host: str
    port: int
    roots: Mapping[str, Path]
    destinations: Mapping[str, Path]
    workers: int
    threads: int
    registries: Path | None = None


def default_state_dir() -> Path:
    """Return $XDG_STATE_HOME/crossfade, or ~/.local/state/crossfade (XDG base directory specification)."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".local/state") / "crossfade"


def run(options: ServeOptions, *, as_json: bool) -> int:
    """Serve until a signal asks to stop; return the exit status: 130 after Ctrl-C, else 0.

    Raises:
        ProgramMissing: A package or redis-server is not installed.
        StateDirInUse: Another serve has the state directory.
        ProcessFailed: A child, or the port, or a folder did not let the service start.
    """
    _require_packages()
    redis_server = find_redis_server()
    _prepare_folders(options)
    logs = options.state_dir / "logs"
    with (
        _lock(options.state_dir),
        socket_path(options.state_dir / "redis") as socket_file,
        _held_port(options.host, options.port) as port,
    ):
        env, signing = child_environment(options, port, socket_file), open_signing(options.state_dir)
        try:
            with Supervisor(options.state_dir, logs, lambda line: print_line(f"crossfade serve: {line}")) as supervisor:
                supervisor.start(redis_child(redis_server, options.state_dir / "redis", socket_file, env))
                supervisor.run_to_end(_python("migrate", ("crossfade_stores.migrate",), env), _START_SECONDS)
                supervisor.wait_until(lambda: answers(socket_file), "redis", _START_SECONDS)
                supervisor.start(_python("api", ("crossfade_api",), env))
                supervisor.start(*worker_children(options.workers, env, signing.environment))
                url = f"http://{_bracketed(options.host)}:{port}"
                ready_url = f"http://{_bracketed(_reachable(options.host))}:{port}/readyz"
                supervisor.wait_until(lambda: _is_ready(ready_url), "api", _START_SECONDS)
                announce(options, url, signing, as_json=as_json)
                supervisor.supervise()
        except StopRequested as stop:
            return _INTERRUPTED if stop.signal_number == signal.SIGINT else 0


def child_environment(options: ServeOptions, port: int, socket_file: Path) -> dict[str, str]:
    """Return the environment of every child: ours without what signs, and the configuration that this command decides.

    Raises:
        ProcessFailed: The registries' file, or the webhooks' key, cannot be read.
    """
    registries = {} if options.registries is None else _read_registries(options.registries)
    destinations = {name: {"kind": "local", "path": str(path)} for name, path in options.destinations.items()}
    destinations |= registries.pop("destinations", {})
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(SIGNING)},
        **{f"CROSSFADE_{name.upper()}": json.dumps(value) for name, value in registries.items()},
        "CROSSFADE_DATABASE_URL": f"sqlite:///{options.state_dir / 'crossfade.db'}",
        "CROSSFADE_BROKER_URL": broker_url(socket_file),
        "CROSSFADE_ROOTS": json.dumps({name: str(path) for name, path in options.roots.items()}),
        "CROSSFADE_DESTINATIONS": json.dumps(destinations),
        "CROSSFADE_API_HOST": options.host,
        "CROSSFADE_API_PORT": str(port),
        "CROSSFADE_THREADS": str(options.threads),
        "CROSSFADE_UNITS_AT_ONCE": str(options.workers),
        **webhook_environment(options.state_dir, options.host),
    }


def _read_registries(file: Path) -> dict[str, Any]:
    """Return what the file says of each part; whether that makes sense the children say."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ProcessFailed(f"--registries {file}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or not found.keys() <= REGISTRY_PARTS:
        raise ProcessFailed(f"--registries {file}: a JSON object of {', '.join(sorted(REGISTRY_PARTS))} expected")
    return found


def worker_children(merge_workers: int, env: Mapping[str, str], signing: Mapping[str, str]) -> list[Child]:
    """Describe the Celery workers: one for control work, which alone can sign, `merge_workers` that merge."""
    queues = {"control": CONTROL_QUEUE} | {f"merge{i}": MERGE_QUEUE for i in range(1, merge_workers + 1)}
    # SIGTERM then gives an unfinished unit back instead of waiting for its end (Celery's soft shutdown).
    soft = {**env, "REMAP_SIGTERM": "SIGQUIT"}
    environments = {CONTROL_QUEUE: {**soft, **signing}, MERGE_QUEUE: soft}
    celery = ("celery", "-A", "crossfade_worker.celery_app", "worker", "--pool", "prefork", "--concurrency", "1")
    return [
        _python(name, (*celery, "-Q", queue, "-n", f"{name}@%h", "--loglevel", "WARNING"), environments[queue])
        for name, queue in queues.items()
    ]


def _python(name: str, module: tuple[str, ...], env: Mapping[str, str]) -> Child:
    return Child(name, (sys.executable, "-m", *module), env)


def _require_packages() -> None:
    missing = [extra for extra, modules in _NEEDED.items() if any(find_spec(module) is None for module in modules)]
    if missing:
        raise ProgramMissing(
            f"crossfade serve runs the API and the workers, and {' and '.join(missing)} is not installed: "
            "pip install 'crossfade[api,worker,cli]'"
        )


def _prepare_folders(options: ServeOptions) -> None:
    for name, root in options.roots.items():
        if not root.is_dir():
            raise ProcessFailed(f"--root {name}={root}: there is no such folder")
    try:
        for folder in options.destinations.values():
            folder.mkdir(parents=True, exist_ok=True)
        options.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("logs", "redis"):
            (options.state_dir / name).mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise ProcessFailed(f"{error.filename} cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def _lock(state_dir: Path) -> Iterator[None]:
    """Hold the state directory; the kernel lets go of it when this process ends, however it ends."""
    with (state_dir / "serve.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StateDirInUse(
                f"{state_dir} is in use by the crossfade serve of process {file.read().strip() or 'unknown'}; "
                "stop that one, or give this one a --state-dir of its own"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _held_port(host: str, port: int) -> Iterator[int]:
    """Hold `port` if it can be bound, or for 0 one that can: the API may bind it, and nobody is given it meanwhile.

    A socket that is bound and does not listen lets another bind and listen where both have SO_REUSEADDR (socket(7)).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ProcessFailed(
                f"cannot listen on {host} port {port}: {error.strerror or error}; --port 0 picks a free one"
            ) from error
        yield int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared with, not bound)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=_READY_ASK_SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False
