"""The worker is configured by its environment alone, and nonsense refuses to start by name, never by value."""

import json
import os

import pytest

from crossfade_worker.settings import WorkerSettings

SECRET = "hunter2-hunter2"
VALID = {
    "CROSSFADE_DATABASE_URL": f"postgresql://user:{SECRET}@db/crossfade",
    "CROSSFADE_BROKER_URL": f"redis://:{SECRET}@broker:6379/0",
}


@pytest.fixture
def read(monkeypatch):
    """Read the settings from an environment that holds nothing else of ours."""
    for name in [name for name in os.environ if name.startswith("CROSSFADE_")]:
        monkeypatch.delenv(name)

    def read_environment(**changes):
        for name, value in {**VALID, **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return WorkerSettings.from_environment()

    return read_environment


def test_two_urls_are_enough_and_the_rest_has_the_documented_defaults(read):
    settings = read()
    assert (settings.roots, settings.destinations) == ({}, {})
    assert (settings.lease_seconds, settings.sweep_seconds) == (30, 3)
    assert (settings.threads, settings.device) == (0, "auto")


def test_every_variable_is_read(read, tmp_path):
    settings = read(
        CROSSFADE_ROOTS=json.dumps({"models": str(tmp_path)}),
        CROSSFADE_DESTINATIONS=json.dumps({"out": {"kind": "local", "path": str(tmp_path)}}),
        CROSSFADE_LEASE_SECONDS="10.5",
        CROSSFADE_SWEEP_SECONDS="0.5",
        CROSSFADE_THREADS="3",
        CROSSFADE_DEVICE="cpu",
    )
    assert settings.roots == {"models": tmp_path}
    assert settings.destinations["out"].path == tmp_path
    assert (settings.lease_seconds, settings.sweep_seconds) == (10.5, 0.5)
    assert (settings.threads, settings.device) == (3, "cpu")


def test_secrets_do_not_show(read):
    settings = read()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert SECRET in settings.database_url.get_secret_value()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CROSSFADE_DATABASE_URL", None),
        ("CROSSFADE_DATABASE_URL", ""),
        ("CROSSFADE_DATABASE_URL", f"mysql://user:{SECRET}@db/x"),
        ("CROSSFADE_DATABASE_URL", f"sqlite://{SECRET}"),
        ("CROSSFADE_BROKER_URL", None),
        ("CROSSFADE_BROKER_URL", f"amqp://user:{SECRET}@mq"),
        ("CROSSFADE_ROOTS", SECRET),
        ("CROSSFADE_ROOTS", f'{{"models": "{SECRET}'),
        ("CROSSFADE_ROOTS", f'["{SECRET}"]'),
        ("CROSSFADE_ROOTS", '{"models": "relative"}'),
        ("CROSSFADE_ROOTS", '{"../models": "/srv"}'),
        ("CROSSFADE_DESTINATIONS", f'{{"out": "{SECRET}"}}'),
        ("CROSSFADE_DESTINATIONS", '{"out": {"kind": "ftp", "path": "/srv"}}'),
        ("CROSSFADE_DESTINATIONS", '{"out": {"path": "relative"}}'),
        ("CROSSFADE_LEASE_SECONDS", SECRET),
        ("CROSSFADE_LEASE_SECONDS", "0"),
        ("CROSSFADE_LEASE_SECONDS", "nan"),
        ("CROSSFADE_SWEEP_SECONDS", "0"),
        ("CROSSFADE_SWEEP_SECONDS", "inf"),
        ("CROSSFADE_SIGNING_KEY", SECRET),
        ("CROSSFADE_SIGNING_KEY_FILE", SECRET),
        ("CROSSFADE_SIGNING_COMMAND", SECRET),
        ("CROSSFADE_SIGNING_COMMAND", f'["{SECRET}"]'),
        ("CROSSFADE_SIGNING_PUBLIC_KEY_FILE", f"/{SECRET}"),
        ("CROSSFADE_SIGNING_COMMAND_SECONDS", "0"),
        ("CROSSFADE_THREADS", "-1"),
        ("CROSSFADE_THREADS", "1.5"),
        ("CROSSFADE_DEVICE", SECRET),
    ],
)
def test_nonsense_refuses_to_start_and_names_its_variable_and_no_secret(read, variable, value):
    with pytest.raises(SystemExit) as caught:
        read(**{variable: value})
    line = str(caught.value.code)
    assert line.startswith("the worker cannot start: ")
    assert variable.removeprefix("CROSSFADE_").lower() in line.lower()
    assert SECRET not in line
    assert "\n" not in line
