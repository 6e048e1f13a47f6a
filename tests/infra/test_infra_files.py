"""The Dockerfiles and the compose file: well-formed, confined, and in step with the code they run."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

from crossfade_api.server import GRACE_SECONDS
from crossfade_api.settings import ApiSettings
from crossfade_core.messages import QUEUE_OF
from crossfade_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "infra" / "docker").glob("*.Dockerfile"))
COMPOSE_FILE = ROOT / "infra" / "compose.yaml"
SERVICES = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
OURS = ["migrate", "api", "control", "merge"]
SETTINGS: dict[str, type[BaseSettings]] = {"api": ApiSettings, "control": WorkerSettings, "merge": WorkerSettings}

each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    lines = [line for line in dockerfile.read_text().splitlines() if line and not line.startswith("#")]
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in "\n".join(lines).replace("\\\n", "").splitlines())
    ]


def last(dockerfile: Path, word: str) -> str:
    return [rest for found, rest in instructions(dockerfile) if found == word][-1]


def command_of(name: str) -> list[str]:
    service = SERVICES[name]
    return service.get("command") or json.loads(last(ROOT / service["build"]["dockerfile"], "CMD"))


def modules_of(command: list[str]) -> list[str]:
    return [module for flag, module in pairwise(command) if flag in ("-m", "-A")]


def run_tool(name: str, *arguments: str) -> None:
    tool = Path(sys.executable).with_name(name)
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_dockerfile_for_the_api_and_one_for_the_worker():
    assert [path.name for path in DOCKERFILES] == ["api.Dockerfile", "worker.Dockerfile"]


@each_dockerfile
def test_hadolint_finds_nothing_even_where_it_is_told_to_look_away(dockerfile):
    run_tool("hadolint", "--disable-ignore-pragma", str(dockerfile))


def test_the_compose_file_follows_the_compose_schema():
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE))


@each_dockerfile
def test_every_stage_builds_on_the_base_the_builder_chooses(dockerfile):
    assert instructions(dockerfile)[0] == ("ARG", "BASE=python:3.11-slim-bookworm")
    assert {rest.split()[0] for word, rest in instructions(dockerfile) if word == "FROM"} == {"${BASE}"}


@each_dockerfile
def test_an_image_runs_as_a_numeric_user_that_is_not_root(dockerfile):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(dockerfile, "USER"))


@each_dockerfile
def test_signals_reach_the_process_because_no_shell_starts_it(dockerfile):
    assert json.loads(last(dockerfile, "CMD"))


@pytest.mark.parametrize("name", OURS)
def test_every_command_runs_a_module_that_exists(name):
    modules = modules_of(command_of(name))
    assert modules
    assert all(find_spec(module) for module in modules), modules


def test_every_queue_has_a_worker():
    commands = [command_of(name) for name in ("control", "merge")]
    assert {command[command.index("-Q") + 1] for command in commands} == set(QUEUE_OF.values())


@pytest.mark.parametrize("name", SETTINGS)
def test_compose_sets_only_settings_that_exist_to_values_they_take(name, monkeypatch):
    for key, value in SERVICES[name]["environment"].items():
        assert key.removeprefix("CROSSFADE_").lower() in SETTINGS[name].model_fields, key
        monkeypatch.setenv(key, re.sub(r"\$\{[^}]*\}", "secret" * 6, value))
    SETTINGS[name]()


def test_only_who_sends_webhooks_or_shows_their_secrets_has_their_key():
    assert [name for name in SETTINGS if "CROSSFADE_WEBHOOK_KEY" in SERVICES[name]["environment"]] == ["api", "control"]


def test_only_the_control_worker_has_the_signing_key():
    assert [name for name, service in SERVICES.items() if "secrets" in service] == ["control"]
    assert SERVICES["control"]["environment"]["CROSSFADE_SIGNING_KEY_FILE"] == "/run/secrets/signing_key"
    told = {
        name: [key for key in service.get("environment", {}) if "SIGNING" in key] for name, service in SERVICES.items()
    }
    assert {name for name, keys in told.items() if keys} == {"control"}


def test_the_migration_needs_the_database_url_and_nothing_else():
    environment = SERVICES["migrate"]["environment"]
    assert environment == {"CROSSFADE_DATABASE_URL": SERVICES["api"]["environment"]["CROSSFADE_DATABASE_URL"]}


@pytest.mark.parametrize("name", SETTINGS)
def test_models_are_mounted_read_only_and_what_is_written_writable_where_the_settings_say(name):
    environment = SERVICES[name]["environment"]
    roots = json.loads(environment["CROSSFADE_ROOTS"]).values()
    destinations = [destination["path"] for destination in json.loads(environment["CROSSFADE_DESTINATIONS"]).values()]
    mounts = {mount["target"]: mount.get("read_only", False) for mount in SERVICES[name]["volumes"]}
    written = [*destinations, environment["CROSSFADE_SCRATCH"]]
    assert mounts == dict.fromkeys(roots, True) | dict.fromkeys(written, False)


@pytest.mark.parametrize(
    ("name", "own_seconds"),
    [
        ("api", GRACE_SECONDS),
        *((name, WorkerSettings.model_fields["grace_seconds"].default) for name in ("control", "merge")),
    ],
)
def test_a_process_is_killed_only_after_its_own_time_to_stop(name, own_seconds):
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > own_seconds


@each_service
def test_only_the_api_can_be_reached_and_only_from_this_machine(name):
    assert SERVICES[name].get("ports", []) == (["127.0.0.1:8000:8000"] if name == "api" else [])


@each_service
def test_every_service_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "build" in service or service["user"] not in ("root", "0")


@each_service
def test_no_secret_is_written_down(name):
    for key, value in SERVICES[name].get("environment", {}).items():
        if key.endswith(("PASSWORD", "TOKEN")):
            assert re.fullmatch(r"\$\{[^}]+\}", value), key
    assert "${POSTGRES_PASSWORD:?" in SERVICES["api"]["environment"]["CROSSFADE_DATABASE_URL"]
