"""The commands as processes of their own, against a stand-in service: output, exit codes, interrupts."""

import json
import os
import pty
import signal
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from crossfade_core.spec import MergeSpec
from tests.cli.conftest import Crossfade, clean_environment
from tests.client.fake_service import DIGEST, JOB_ID, SECRET, FakeService
from tests.system.serving import wait_for

SUBMIT = ("submit", "local://m/base", "local://m/instruct", "--lambda", "0:0.3:0.1", "--destination", "outputs")
COMMANDS = ("serve", "merge", "fetch", "rebuild", "verify", "inspect", "keygen", "submit", "watch", "list", "show")
COMMANDS += ("cancel", "retry", "lineage", "approve", "reject", "audit")
KEY_COMMANDS = ("create", "list", "revoke")
WEBHOOK_COMMANDS = ("create", "list", "deliveries", "replay", "test", "rotate", "delete", "listen")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_examples(crossfade: Crossfade, command: str):
    ended = crossfade(command, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"crossfade {command}" in ended.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("command", KEY_COMMANDS)
def test_every_command_about_keys_has_a_help_with_examples(crossfade: Crossfade, command: str):
    ended = crossfade("keys", command, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"crossfade keys {command}" in ended.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("command", WEBHOOK_COMMANDS)
def test_every_command_about_webhooks_has_a_help_with_examples(crossfade: Crossfade, command: str):
    ended = crossfade("webhooks", command, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"crossfade webhooks {command}" in ended.stdout.partition("Examples:")[2]


def test_without_a_command_there_is_help_that_names_them_all(crossfade: Crossfade):
    ended = crossfade()
    assert ended.returncode == 0
    assert all(f"\n  {command} " in ended.stdout for command in (*COMMANDS, "keys", "webhooks"))


def test_the_version_is_the_distributions(crossfade: Crossfade):
    assert crossfade("--version").stdout == f"crossfade {version('crossfade')}\n"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("bogus",), "No such command 'bogus'"),
        (("show",), "Missing argument 'ID'"),
        (("list", "--limit", "0"), "--limit"),
        (("submit", "a", "b", "--lambda", "x", "--destination", "o"), "--lambda: 'x' is no number"),
        (("submit", "a", "b", "--lambda", "0", "--destination", "o", "--label", "x"), "--label: 'x'"),
        ((*SUBMIT, "--policy", "tokens=maybe"), "--policy: tokens cannot be 'maybe'"),
        ((*SUBMIT, "--skip", "x"), "--skip: needs --minus"),
        ((*SUBMIT, "--seed", "-1"), "--seed"),
        (("inspect",), "Missing argument 'PATH'"),
        (("serve", "--root", "x"), "--root: 'x'"),
        (("merge", "a", "b", "--lambda", "0:1", "--out", "o"), "START:STOP:STEP"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_exit_2(crossfade: Crossfade, args: tuple[str, ...], reason: str):
    ended = crossfade(*args)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("crossfade: ")
    assert reason in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("args", [("list",), ("show", "x"), ("cancel", "x"), ("watch", "x"), ("keys", "list"), SUBMIT])
def test_no_service_is_one_line_on_stderr_and_exit_1(crossfade: Crossfade, args: tuple[str, ...]):
    ended = crossfade(*args, "--url", "http://127.0.0.1:9")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "crossfade serve" in ended.stderr


def test_errors_are_json_too_where_json_is_asked_for(crossfade: Crossfade):
    ended = crossfade("list", "--json", CROSSFADE_URL="http://127.0.0.1:9")
    assert json.loads(ended.stdout)["error"]["code"] == "service_unreachable"


def test_submit_sends_what_was_asked_and_nothing_more(crossfade: Crossfade):
    with FakeService() as service:
        ended = crossfade(*SUBMIT, "--label", "team=eval", CROSSFADE_URL=service.url, CROSSFADE_TOKEN="t0ken")
    asked = service.asked_for("/v1/merges")[0]
    assert asked.headers["Authorization"] == "Bearer t0ken"
    assert asked.body == {
        "base": "local://m/base",
        "instruct": "local://m/instruct",
        "lambdas": [0.0, 0.1, 0.2, 0.3],
        "destination": "outputs",
        "labels": {"team": "eval"},
    }
    assert ended.returncode == 0
    assert f"crossfade watch {JOB_ID}" in ended.stdout


def test_submit_sends_the_terms_as_the_spec_has_them(crossfade: Crossfade):
    terms = ("--minus", "local://m/old", "--skip", "*embed*", "--rule", "*mlp*=0.5", "--rule", "*=1")
    terms += ("--policy", "one_sided=copy", "--rounding", "stochastic", "--seed", "7", "--statistics", "sampled")
    with FakeService() as service:
        crossfade(*SUBMIT, *terms, CROSSFADE_URL=service.url)
    asked = service.asked_for("/v1/merges")[0].body
    assert asked["instruct"] == {"delta_of": ["local://m/instruct", "local://m/old"], "skip": ["*embed*"]}
    assert asked["schedule"] == [{"pattern": "*mlp*", "factor": 0.5}, {"pattern": "*", "factor": 1.0}]
    assert (asked["policies"], asked["rounding"], asked["seed"]) == ({"one_sided": "copy"}, "stochastic", 7)
    assert MergeSpec.model_validate(asked).skip == ("*embed*",)


@pytest.mark.parametrize("command", ["watch", "show"])
def test_what_an_output_warns_of_is_told_beside_its_realised_strength(crossfade: Crossfade, command: str):
    with FakeService(has_ended=True, warnings=("λ = 0.5 was realised as 0.432\x1b[2J",)) as service:
        ended = crossfade(command, JOB_ID, "--url", service.url)
    assert ended.returncode == 0
    assert "0.5  0.4321  /srv/out" in ended.stdout
    assert ended.stderr.splitlines()[-1] == "warning: instruct-pad-0.5: λ = 0.5 was realised as 0.432\\x1b[2J"


def test_submit_and_watch_shows_progress_then_the_digests(crossfade: Crossfade):
    with FakeService(broken_streams=1) as service:
        ended = crossfade(*SUBMIT, "--watch", "--url", service.url)
    assert ended.returncode == 0
    assert "merging 100%" in ended.stderr
    assert [line.split()[-1] for line in ended.stdout.splitlines()] == ["SHA-256", DIGEST, DIGEST[::-1]]


def test_watch_with_json_prints_the_job_and_nothing_else(crossfade: Crossfade):
    with FakeService() as service:
        ended = crossfade("watch", JOB_ID, "--json", "--url", service.url)
    job = json.loads(ended.stdout)
    assert (job["state"], job["outputs"][0]["lambda"], ended.stderr) == ("SUCCEEDED", 0.5, "")


@pytest.mark.parametrize(
    ("ending", "error", "reason"),
    [
        ("FAILED", {"code": "tensors_differ", "message": "x.weight differs"}, "ended FAILED: x.weight differs"),
        ("CANCELLED", None, "was cancelled"),
        ("PARTIALLY_SUCCEEDED", None, "ended PARTIALLY_SUCCEEDED"),
    ],
)
@pytest.mark.parametrize("command", ["watch", "show"])
def test_a_job_without_success_is_exit_1_with_its_error(
    crossfade: Crossfade, command: str, ending: str, error: dict[str, str] | None, reason: str
):
    with FakeService(ending=ending, error=error, has_ended=True) as service:
        ended = crossfade(command, JOB_ID, "--url", service.url)
    assert ended.returncode == 1
    assert f"crossfade: job {JOB_ID} {reason}" in ended.stderr


def test_show_tells_a_running_jobs_state_and_is_no_error(crossfade: Crossfade):
    with FakeService() as service:
        ended = crossfade("show", JOB_ID, "--url", service.url)
    assert ended.returncode == 0
    assert "RUNNING, merging" in ended.stdout
    assert "instruct-pad-0.5 (pending)" in ended.stdout


def test_list_and_cancel_print_the_jobs_state(crossfade: Crossfade):
    with FakeService() as service:
        listed = crossfade("list", "--state", "running", "--url", service.url)
        cancelled = crossfade("cancel", JOB_ID, "--json", "--url", service.url)
    assert listed.stdout.splitlines()[1].split()[:3] == [JOB_ID, "RUNNING", "50%"]
    assert json.loads(cancelled.stdout)["id"] == JOB_ID


def test_a_list_names_its_next_page_and_shows_it(crossfade: Crossfade):
    with FakeService(page_count=2) as service:
        first = crossfade("list", "--label", "team=eval", "--url", service.url)
        last = crossfade("list", "--label", "team=eval", "--page", "2", "--url", service.url)
    assert first.stderr == "there are more: the same with --page 2\n"
    assert (last.stdout.splitlines()[1].split()[0], last.stderr) == (JOB_ID, "")
    asked = service.asked_for("/v1/merges")[1].query
    assert (asked["page"], asked["label"]) == (["2"], ["team=eval"])


def test_submission_that_an_earlier_job_answers_says_so(crossfade: Crossfade):
    with FakeService(is_reused=True) as service:
        ended = crossfade(*SUBMIT, "--url", service.url)
        crossfade(*SUBMIT, "--fresh", "--url", service.url)
    assert f"job {JOB_ID} makes the same already; --fresh makes it again" in ended.stdout
    assert [asked.body.get("fresh") for asked in service.asked_for("/v1/merges")] == [None, True]


def test_idempotency_key_is_sent_as_such(crossfade: Crossfade):
    with FakeService() as service:
        crossfade(*SUBMIT, "--idempotency-key", "release-7", "--url", service.url)
        crossfade(*SUBMIT, "--url", service.url)
    keys = [asked.headers.get("Idempotency-Key") for asked in service.asked_for("/v1/merges")]
    assert keys == ["release-7", None]


def test_retry_asks_once_and_follows_the_job_where_asked_to(crossfade: Crossfade):
    with FakeService() as service:
        told = crossfade("retry", JOB_ID, "--url", service.url)
        watched = crossfade("retry", JOB_ID, "--watch", "--url", service.url)
    assert f"job {JOB_ID} queued again; follow it with: crossfade watch {JOB_ID}" in told.stdout
    assert (watched.returncode, len(service.asked_for(f"/v1/merges/{JOB_ID}/retry"))) == (0, 2)
    assert "/srv/out/instruct-pad-0.5" in watched.stdout


def test_secret_of_a_new_key_alone_is_on_stdout(crossfade: Crossfade):
    with FakeService() as service:
        limits = (
            "--scope",
            "read",
            "--scope",
            "submit",
            "--max-jobs",
            "3",
            "--requests-per-minute",
            "90",
            "--expires",
            "30",
        )
        made = crossfade("keys", "create", "alice", *limits, "--url", service.url)
        usual = crossfade("keys", "create", "bob", "--json", "--url", service.url)
    asked, plain = (each.body for each in service.asked_for("/v1/keys"))
    assert (asked["name"], asked["scopes"], asked["max_jobs"]) == ("alice", ["read", "submit"], 3)
    assert asked["requests_per_minute"] == 90
    assert 29.9 < (datetime.fromisoformat(asked["expires_at"]) - datetime.now(UTC)).total_seconds() / 86400 < 30.1
    assert plain == {"name": "bob", "max_jobs": None, "requests_per_minute": None}
    assert made.stdout == f"{SECRET}\n"
    assert "key alice may read, submit" in made.stderr
    assert json.loads(usual.stdout)["secret"] == SECRET


def test_keys_are_listed_and_revoked(crossfade: Crossfade):
    with FakeService() as service:
        listed = crossfade("keys", "list", "--url", service.url)
        revoked = crossfade("keys", "revoke", "release", "--url", service.url)
    assert "release  read, submit  at most 5        600/min   2027-01-01T00:00:00" in listed.stdout
    assert revoked.stdout == "key release is revoked\n"


def test_a_terminal_gets_a_live_bar():
    controller, terminal = pty.openpty()
    with FakeService() as service:
        command = [sys.executable, "-m", "crossfade_cli", "watch", JOB_ID, "--url", service.url]
        environment = clean_environment() | {"TERM": "xterm", "COLUMNS": "100"}
        process = subprocess.Popen(command, env=environment, stdout=terminal, stderr=terminal)
        os.close(terminal)
        text = _read_to_end(controller)
        assert process.wait(120) == 0
    os.close(controller)
    assert "━" in text
    assert "100%" in text
    assert f"{DIGEST[:12]}…" in text


def _read_to_end(descriptor: int) -> str:
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:  # how Linux tells that the last process has closed the terminal
        pass
    return b"".join(parts).decode()


@pytest.mark.parametrize("args", [("watch", JOB_ID), (*SUBMIT, "--watch")])
def test_an_interrupt_is_exit_130_without_a_word(args: tuple[str, ...]):
    with FakeService(is_endless=True) as service:
        command = [sys.executable, "-m", "crossfade_cli", *args, "--url", service.url]
        process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True)
        wait_for(lambda: service.asked_for(f"/v1/merges/{JOB_ID}/events"))
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert not [line for line in said.splitlines() if not line.startswith(("merging", "job "))]


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path):
    with FakeService() as service:
        command = f"{sys.executable} -m crossfade_cli list --url {service.url} | true"
        ended = subprocess.run(
            ["bash", "-c", command], check=False, env=clean_environment(), capture_output=True, text=True
        )
    assert "Traceback" not in ended.stderr
