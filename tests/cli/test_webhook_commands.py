"""`crossfade webhooks listen` as a process of its own, told by real HTTP."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.cli.conftest import Crossfade, clean_environment
from tests.client.webhook_sender import BODY, SECRET, body_of, send

SECRETS = {"CROSSFADE_WEBHOOK_SECRET": SECRET}


class Listener:
    """The command while it runs, and where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = process.stderr.readline().removeprefix("listening at ").strip()

    def end(self) -> tuple[int, list[dict], str]:
        """Return how it ended, what it printed, and what it told people."""
        out, said = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], said


@contextmanager
def listening(*args: str) -> Iterator[Listener]:
    command = [sys.executable, "-m", "crossfade_cli", "webhooks", "listen", *args]
    environment = clean_environment() | SECRETS
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            yield Listener(process)
        finally:
            process.kill()


def test_each_message_of_the_job_is_a_line_and_its_end_the_end():
    with listening("--job", "job-1") as listener:
        send(listener.url, body_of(type="output.published", data={"job_id": "job-1", "lambda": 0.5}), "1")
        send(listener.url, body_of(data={"job_id": "another"}), "2")
        assert send(listener.url, BODY, "3").status_code == 204
        code, printed, _ = listener.end()
    assert code == 0
    assert [(message["id"], message["type"]) for message in printed] == [
        ("1", "output.published"),
        ("3", "job.succeeded"),
    ]
    assert printed[0]["data"] == {"job_id": "job-1", "lambda": 0.5}


def test_a_job_that_failed_is_exit_1_behind_its_line():
    with listening("--job", "job-1") as listener:
        send(listener.url, body_of(type="job.failed", data={"job_id": "job-1"}))
        code, printed, said = listener.end()
    assert (code, len(printed)) == (1, 1)
    assert said == "crossfade: job job-1 ended FAILED\n"


def test_it_ends_after_as_many_messages_as_asked_for():
    with listening("--count", "2") as listener:
        send(listener.url, body_of(data={"job_id": "a"}), "1")
        send(listener.url, body_of(data={"job_id": "b"}), "2")
        code, printed, _ = listener.end()
    assert (code, [message["id"] for message in printed]) == (0, ["1", "2"])


def test_a_message_that_is_not_signed_is_told_and_not_printed():
    with listening("--count", "1") as listener:
        assert httpx.post(listener.url, content=BODY, trust_env=False).status_code == 400
        send(listener.url)
        code, printed, said = listener.end()
    assert (code, len(printed)) == (0, 1)
    assert said.startswith("refused: the request has no header")


def test_time_that_is_over_is_exit_1(crossfade: Crossfade):
    ended = crossfade("webhooks", "listen", "--job", "x", "--timeout", "0.2", **SECRETS)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "within 0.2 s" in ended.stderr


@pytest.mark.parametrize(
    ("environment", "args", "code", "reason"),
    [
        ({}, (), 2, "CROSSFADE_WEBHOOK_SECRET holds no secret"),
        (SECRETS, ("--secret-env", "OTHER"), 2, "OTHER holds no secret"),
        ({"OTHER": "n0nsense"}, ("--secret-env", "OTHER"), 1, "whsec_ and base64"),
        (SECRETS, ("--host", "192.0.2.1"), 1, "choose another --port or --host"),
    ],
)
def test_a_secret_that_is_none_and_a_place_that_cannot_be_had_are_one_line(
    crossfade: Crossfade, environment: dict[str, str], args: tuple[str, ...], code: int, reason: str
):
    ended = crossfade("webhooks", "listen", *args, **environment)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1)
    assert reason in ended.stderr
    assert "n0nsense" not in ended.stderr


def test_a_port_in_use_is_one_line(crossfade: Crossfade):
    with listening() as listener:
        ended = crossfade("webhooks", "listen", "--port", listener.url.rstrip("/").rpartition(":")[2], **SECRETS)
    assert ended.returncode == 1
    assert "Address already in use" in ended.stderr
