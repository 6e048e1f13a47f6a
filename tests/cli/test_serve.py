"""`crossfade serve` for real: API, workers and Redis as processes, in a state directory of the test's own."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from crossfade_cli.serve import (
    ServeOptions,
    child_environment,
    default_state_dir,
    worker_children,
)
from crossfade_cli.serve_announcement import announce
from crossfade_cli.serve_keys import open_signing
from crossfade_core.errors import ProcessFailed
from crossfade_signing.key_pairs import make_key_pair
from crossfade_signing.public_keys import PublicKey, read_public_key_file
from tests.cli.conftest import Crossfade, clean_environment
from tests.system.serving import wait_for


@dataclass
class Service:
    """A running `crossfade serve`; `said` is its one line."""

    process: subprocess.Popen[str]
    state_dir: Path
    said: dict[str, Any]

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.said['url']}/readyz", trust_env=False, timeout=60).is_success
        except httpx.HTTPError:
            return False

    def child(self, words: str) -> psutil.Process | None:
        """Return the child whose command line holds `words`."""
        children = psutil.Process(self.process.pid).children()
        return next((child for child in children if words in described(child)), None)


def described(process: psutil.Process) -> str:
    """Return command line and environment; Redis overwrites its environment with its title."""
    try:
        return " ".join([*process.cmdline(), process.environ().get("CROSSFADE_DATABASE_URL", "")])
    except psutil.Error:
        return ""


def processes_of(state_dir: Path) -> list[int]:
    """Return every process that was started for this state directory."""
    return [process.pid for process in psutil.process_iter() if f"{state_dir}/" in described(process)]


def signers_of(state_dir: Path) -> list[psutil.Process]:
    """Return the processes of this state directory whose environment leads to a signing key."""
    return [process for process in psutil.process_iter() if f"{state_dir}/" in described(process) and can_sign(process)]


def can_sign(process: psutil.Process) -> bool:
    try:
        return any("SIGNING" in name for name in process.environ())
    except psutil.Error:
        return False


@contextmanager
def serving(folder: Path) -> Iterator[Service]:
    state_dir = folder / "state"
    options = (
        "--state-dir",
        str(state_dir),
        "--port",
        "0",
        "--root",
        f"here={folder}",
        "--destination",
        f"o={folder}/o",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "crossfade_cli", "serve", "--json", *options],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield Service(process, state_dir, json.loads(line))
        finally:
            process.kill()
    wait_for(lambda: not processes_of(state_dir))


def test_it_announces_itself_when_ready_and_a_second_one_on_its_state_is_refused(tmp_path: Path, crossfade: Crossfade):
    with serving(tmp_path) as service:
        assert service.is_ready()
        assert (service.said["roots"], service.said["state_dir"]) == ({"here": str(tmp_path)}, str(service.state_dir))
        public_file = service.state_dir / "signing.pub"
        assert service.said["signing"] == {
            "key_id": read_public_key_file(public_file).key_id,
            "public_key_file": str(public_file),
        }
        second = crossfade("serve", "--state-dir", str(service.state_dir), "--port", "0")
        assert second.returncode == 1
        assert (
            f"{service.state_dir} is in use by the crossfade serve of process {service.process.pid};" in second.stderr
        )


def test_children_that_are_killed_are_started_again(tmp_path: Path):
    with serving(tmp_path) as service:
        for words in ("crossfade_api", "-Q merge", f"unixsocket:{service.state_dir}/redis/r.sock"):
            wait_for(lambda words=words: service.child(words))
            killed = service.child(words)
            assert killed is not None
            killed.kill()
            wait_for(lambda words=words, killed=killed: service.child(words) not in (None, killed))
        wait_for(service.is_ready)


def test_killed_it_leaves_no_process_and_the_next_one_takes_up_its_state(tmp_path: Path):
    with serving(tmp_path) as service:
        # Redis, API, two workers, and the process that each worker's pool has.
        wait_for(lambda: len(processes_of(service.state_dir)) >= 6)
        wait_for(lambda: len(signers_of(service.state_dir)) >= 2)
        holders = [described(process) for process in signers_of(service.state_dir)]
        assert len(holders) == 2
        assert all("-Q control" in holder for holder in holders)
        service.process.kill()
        wait_for(lambda: not processes_of(service.state_dir))
    with serving(tmp_path) as service:
        assert service.is_ready()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(180) == 0
        wait_for(lambda: not processes_of(service.state_dir))


def test_a_state_directory_in_use_is_refused_by_name(tmp_path: Path, crossfade: Crossfade):
    with (tmp_path / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = crossfade("serve", "--state-dir", str(tmp_path), "--destination", f"o={tmp_path}")
    assert ended.returncode == 1
    assert f"{tmp_path} is in use" in ended.stderr


def test_a_port_in_use_is_refused_before_anything_is_started(tmp_path: Path, crossfade: Crossfade):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = crossfade("serve", "--state-dir", str(tmp_path), "--port", port, "--destination", f"o={tmp_path}")
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in ended.stderr
    assert not list(tmp_path.glob("logs/*"))


def test_a_root_that_is_not_there_is_refused(tmp_path: Path, crossfade: Crossfade):
    ended = crossfade("serve", "--state-dir", str(tmp_path / "state"), "--root", f"models={tmp_path}/none")
    assert ended.returncode == 1
    assert f"--root models={tmp_path}/none: there is no such folder" in ended.stderr
    assert not (tmp_path / "state").exists()


def test_a_child_that_refuses_to_start_is_shown_with_its_reason(tmp_path: Path, crossfade: Crossfade):
    ended = crossfade(
        "serve", "--state-dir", str(tmp_path), "--host", "0.0.0.0", "--port", "0", "--destination", f"o={tmp_path}"
    )
    assert ended.returncode == 1
    assert "api ended with exit code" in ended.stderr
    assert "CROSSFADE_API_TOKEN" in ended.stderr
    wait_for(lambda: not processes_of(tmp_path))


def test_children_are_configured_by_their_environment_alone(tmp_path: Path):
    options = ServeOptions(tmp_path, "127.0.0.1", 0, {"m": Path("/srv/m")}, {"o": Path("/srv/o")}, workers=2, threads=3)
    env = child_environment(options, 8123, tmp_path / "r.sock")
    ours = {name: value for name, value in env.items() if name.startswith("CROSSFADE_")}
    key = ours.pop("CROSSFADE_WEBHOOK_KEY")
    assert ours == {
        "CROSSFADE_DATABASE_URL": f"sqlite:///{tmp_path}/crossfade.db",
        "CROSSFADE_BROKER_URL": f"redis+socket://{tmp_path}/r.sock?virtual_host=0",
        "CROSSFADE_ROOTS": '{"m": "/srv/m"}',
        "CROSSFADE_DESTINATIONS": '{"o": {"kind": "local", "path": "/srv/o"}}',
        "CROSSFADE_API_HOST": "127.0.0.1",
        "CROSSFADE_API_PORT": "8123",
        "CROSSFADE_THREADS": "3",
        "CROSSFADE_UNITS_AT_ONCE": "2",
        "CROSSFADE_WEBHOOK_NETWORKS": '["127.0.0.0/8", "::1/128"]',
    }
    assert (len(key), (tmp_path / "webhook.key").read_text()) == (64, key)
    assert (tmp_path / "webhook.key").stat().st_mode & 0o777 == 0o600


def test_webhooks_keep_their_key_and_reach_this_machine_from_loopback_alone(tmp_path: Path, monkeypatch):
    def webhooks_of(host: str) -> list[str]:
        options = ServeOptions(tmp_path, host, 0, {}, {}, workers=1, threads=0)
        env = child_environment(options, 8123, tmp_path / "r.sock")
        return [env["CROSSFADE_WEBHOOK_KEY"], env["CROSSFADE_WEBHOOK_NETWORKS"]]

    key, networks = webhooks_of("localhost")
    assert json.loads(networks)
    assert webhooks_of("0.0.0.0") == [key, "[]"]
    monkeypatch.setenv("CROSSFADE_WEBHOOK_KEY", "of the operator's own choosing, long enough")
    assert webhooks_of("0.0.0.0")[0] != key


@pytest.fixture
def options(tmp_path: Path) -> ServeOptions:
    return ServeOptions(tmp_path, "127.0.0.1", 0, {}, {}, workers=2, threads=0)


def environments(options: ServeOptions) -> dict[str, dict[str, str]]:
    """Return the variables about signing that the API and each worker get."""
    env = child_environment(options, 8123, options.state_dir / "r.sock")
    signing = open_signing(options.state_dir).environment
    children = {child.name: child.env for child in worker_children(2, env, signing)}
    return {
        name: {variable: value for variable, value in of.items() if variable.startswith("CROSSFADE_SIGNING")}
        for name, of in {"api": env, **children}.items()
    }


def test_the_control_worker_alone_is_given_the_key_that_serve_made(options: ServeOptions):
    key_file = options.state_dir / "signing.key"
    assert environments(options) == {
        "api": {},
        "control": {"CROSSFADE_SIGNING_KEY_FILE": str(key_file)},
        "merge1": {},
        "merge2": {},
    }
    assert key_file.stat().st_mode & 0o777 == 0o600
    made = key_file.read_bytes(), key_file.with_suffix(".pub").read_bytes()
    environments(options)
    assert (key_file.read_bytes(), key_file.with_suffix(".pub").read_bytes()) == made


@pytest.fixture
def operators(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PublicKey]:
    """Return a private key's file and its public half, which lies beside it."""
    file = tmp_path_factory.mktemp("operator") / "k.pem"
    return file, make_key_pair(file, file.with_suffix(".pub"))


@pytest.mark.parametrize("way", ["KEY", "KEY_FILE", "COMMAND"])
def test_a_key_of_the_operators_goes_before_and_to_the_control_worker_alone(
    options: ServeOptions, operators, monkeypatch, way
):
    file, public = operators
    given = {
        "KEY": {"CROSSFADE_SIGNING_KEY": file.read_text()},
        "KEY_FILE": {"CROSSFADE_SIGNING_KEY_FILE": str(file)},
        "COMMAND": {
            "CROSSFADE_SIGNING_COMMAND": '["sign"]',
            "CROSSFADE_SIGNING_PUBLIC_KEY_FILE": str(file.with_suffix(".pub")),
        },
    }[way]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert environments(options) == {"api": {}, "control": given, "merge1": {}, "merge2": {}}
    assert not (options.state_dir / "signing.key").exists()
    signing = open_signing(options.state_dir)
    assert (signing.key_id, read_public_key_file(signing.public_key_file)) == (public.key_id, public)


def test_the_line_on_start_names_the_key_and_the_file_to_verify_with(options: ServeOptions, capsys):
    signing = open_signing(options.state_dir)
    announce(options, "http://127.0.0.1:1", signing, as_json=False)
    said = f"outputs are signed by key {signing.key_id}, to be verified with --key {options.state_dir}/signing.pub"
    assert said in capsys.readouterr().out


def test_a_limit_alone_leaves_serve_its_own_key(options: ServeOptions, monkeypatch):
    monkeypatch.setenv("CROSSFADE_SIGNING_COMMAND_SECONDS", "5")
    assert environments(options)["control"] == {
        "CROSSFADE_SIGNING_COMMAND_SECONDS": "5",
        "CROSSFADE_SIGNING_KEY_FILE": f"{options.state_dir}/signing.key",
    }
    signing = open_signing(options.state_dir)
    assert signing.public_key_file == options.state_dir / "signing.pub"
    assert read_public_key_file(signing.public_key_file).key_id == signing.key_id


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"KEY": "hunter2"}, "CROSSFADE_SIGNING_KEY: an unencrypted EC P-256"),
        ({"KEY": ""}, "CROSSFADE_SIGNING_KEY: an unencrypted EC P-256"),
        ({"KEY_FILE": "/there/is/none"}, "/there/is/none: no such file"),
        ({"COMMAND": '["sign"]'}, "set CROSSFADE_SIGNING_PUBLIC_KEY_FILE too"),
    ],
)
def test_a_key_that_cannot_be_read_is_refused_before_anything_starts(options: ServeOptions, monkeypatch, given, named):
    for name, value in given.items():
        monkeypatch.setenv(f"CROSSFADE_SIGNING_{name}", value)
    with pytest.raises(ProcessFailed, match=named) as caught:
        open_signing(options.state_dir)
    assert "hunter2" not in caught.value.message


def test_a_key_that_others_may_read_is_refused(tmp_path: Path, crossfade: Crossfade):
    (tmp_path / "signing.key").write_text("x")
    (tmp_path / "signing.key").chmod(0o644)
    ended = crossfade("serve", "--state-dir", str(tmp_path), "--port", "0", "--destination", f"o={tmp_path}")
    assert ended.returncode == 1
    assert f"{tmp_path}/signing.key: mode 0644 lets others read" in ended.stderr


REGISTRIES = {
    "credentials": {"hub": {"token": "hf_s3cr3t"}},
    "hub": {"endpoint": "http://127.0.0.1:1", "credential": "hub"},
    "destinations": {"sweeps": {"kind": "hub", "namespace": "acme", "credential": "hub"}},
}


def test_registries_beside_folders_come_from_one_file(tmp_path: Path):
    file = tmp_path / "registries.json"
    file.write_text(json.dumps(REGISTRIES))
    folders: dict[str, Path] = {"o": Path("/srv/o")}
    options = ServeOptions(tmp_path, "127.0.0.1", 0, {}, folders, workers=1, threads=0, registries=file)
    env = child_environment(options, 8123, tmp_path / "r.sock")
    told = {name: json.loads(env[f"CROSSFADE_{name.upper()}"]) for name in (*REGISTRIES, "destinations")}
    local = {"o": {"kind": "local", "path": "/srv/o"}}
    assert told == {**REGISTRIES, "destinations": local | REGISTRIES["destinations"]}


@pytest.mark.parametrize("text", ["{", "[]", '{"roots": {}}', '{"api_token": "x"}', None])
def test_registries_that_are_no_such_file_are_refused(tmp_path: Path, crossfade: Crossfade, text):
    file = tmp_path / "registries.json"
    if text is not None:
        file.write_text(text)
    ended = crossfade("serve", "--state-dir", str(tmp_path / "state"), "--registries", str(file))
    assert ended.returncode == 1
    assert f"--registries {file}: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_there_is_one_control_worker_and_as_many_that_merge_as_asked():
    workers = worker_children(2, {}, {})
    queues = [(child.name, child.argv[child.argv.index("-Q") + 1]) for child in workers]
    assert queues == [("control", "control"), ("merge1", "merge"), ("merge2", "merge")]
    assert {child.env["REMAP_SIGTERM"] for child in workers} == {"SIGQUIT"}


@pytest.mark.parametrize(
    ("home", "state_dir"),
    [("/xdg", "/xdg/crossfade"), ("", "~/.local/state/crossfade"), ("x", "~/.local/state/crossfade")],
)
def test_the_default_state_directory_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch, home: str, state_dir: str):
    monkeypatch.setenv("XDG_STATE_HOME", home)
    assert default_state_dir() == Path(os.path.expanduser(state_dir))
