"""Settings: what refuses to start, and that nothing is shown that must not be."""

import json
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from crossfade_api.settings import ApiSettings
from crossfade_stores.settings import describe_invalid

PASSWORD = "hunter2-hunter2"


@pytest.fixture
def valid(tmp_path):
    return {
        "database_url": f"postgresql://user:{PASSWORD}@db/crossfade",
        "broker_url": f"redis://:{PASSWORD}@broker:6379/0",
        "roots": {"models": str(tmp_path)},
        "destinations": {"outputs": {"kind": "local", "path": str(tmp_path)}},
        "api_token": PASSWORD,
    }


def as_environment(settings: dict) -> dict[str, str]:
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
    return {**os.environ, **{f"CROSSFADE_{name.upper()}": value for name, value in values.items()}}


def test_secrets_do_not_show(valid):
    settings = ApiSettings.model_validate(valid)
    assert PASSWORD not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"database_url": f"mysql://u:{PASSWORD}@db/x"}, "CROSSFADE_DATABASE_URL"),
        ({"database_url": f"//{PASSWORD}"}, "CROSSFADE_DATABASE_URL"),
        ({"broker_url": f"amqp://u:{PASSWORD}@mq"}, "CROSSFADE_BROKER_URL"),
        ({"broker_url": ""}, "CROSSFADE_BROKER_URL"),
        ({"roots": {"models": "relative"}}, "CROSSFADE_ROOTS (models)"),
        ({"roots": {"../models": "/srv"}}, "CROSSFADE_ROOTS"),
        ({"destinations": {"outputs": {"kind": "ftp", "path": "/srv"}}}, "CROSSFADE_DESTINATIONS (outputs)"),
        (
            {"destinations": {"outputs": {"kind": "hub", "namespace": "acme", "credential": "nobody"}}},
            "there is no credential 'nobody'",
        ),
        ({"credentials": {"hub": {"token": PASSWORD, "access_key_id": PASSWORD}}}, "CROSSFADE_CREDENTIALS (hub)"),
        ({"api_port": 0}, "CROSSFADE_API_PORT"),
        ({"requests_per_minute": -1}, "CROSSFADE_REQUESTS_PER_MINUTE"),
        ({"api_port": 65536}, "CROSSFADE_API_PORT"),
        ({"api_processes": 0}, "CROSSFADE_API_PROCESSES"),
        ({"api_token": ""}, "CROSSFADE_API_TOKEN"),
        ({"api_token": f"{PASSWORD} {PASSWORD}"}, "CROSSFADE_API_TOKEN"),
        ({"api_token": None, "api_host": "0.0.0.0"}, "CROSSFADE_API_TOKEN"),
        ({"api_token": None, "api_host": "example.com"}, "CROSSFADE_API_TOKEN"),
    ],
)
def test_nonsense_is_refused_by_name_in_one_line_without_secrets(valid, change, named):
    with pytest.raises(ValidationError) as caught:
        ApiSettings.model_validate({**valid, **change})
    line = describe_invalid(caught.value)
    assert named in line
    assert "\n" not in line
    assert PASSWORD not in line


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_needs_no_token(valid, host):
    assert ApiSettings.model_validate({**valid, "api_token": None, "api_host": host}).api_host == host


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"api_host": "0.0.0.0"}, "CROSSFADE_API_TOKEN"),
        ({"database_url": ""}, "CROSSFADE_DATABASE_URL"),
        ({"roots": "{not json"}, "roots"),
    ],
)
def test_the_process_refuses_bad_settings_in_one_line_with_exit_code_2(valid, change, named):
    del valid["api_token"]
    run = subprocess.run(
        [sys.executable, "-m", "crossfade_api"],
        env=as_environment({**valid, **change}),
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("crossfade_api: cannot start: ")
    assert run.stderr.count("\n") == 1
    assert named in run.stderr


def test_the_application_imports_without_torch_and_without_settings():
    program = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'safetensors'): sys.modules[name] = None\n"
        "import crossfade_api.app\n"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    subprocess.run([sys.executable, "-c", program], env=bare, check=True, timeout=300)
