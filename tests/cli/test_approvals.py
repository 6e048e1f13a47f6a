"""Deciding about outputs from the command line, against a stand-in service."""

import json

import pytest

from tests.cli.conftest import Crossfade
from tests.client.fake_service import DIGEST, JOB_ID, FakeService

PATH = f"/v1/merges/{JOB_ID}/outputs/0"


@pytest.mark.parametrize("chosen", [("--lambda", "0.5"), ("--all",)])
def test_approval_names_the_output_and_says_what_it_is_now(crossfade: Crossfade, chosen: tuple[str, ...]):
    with FakeService(requires_approval=True, is_staged=True) as service:
        ended = crossfade("approve", JOB_ID, *chosen, "--reason", "fine", "--url", service.url)
    assert (ended.returncode, ended.stdout) == (0, "λ = 0.5 (instruct-pad-0.5) is APPROVED; it is PUBLISHED\n")
    assert [asked.body for asked in service.asked_for(f"{PATH}/approve")] == [{"reason": "fine"}]


def test_rejection_is_sent_with_its_reason_and_what_it_is_about(crossfade: Crossfade):
    about = ("--lambda", "0.5", "--lineage-sha256", DIGEST)
    with FakeService(requires_approval=True, is_staged=True) as service:
        ended = crossfade("reject", JOB_ID, *about, "--reason", "worse", "--json", "--url", service.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["outputs"][0]["approval"] == "REJECTED"
    (asked,) = service.asked_for(f"{PATH}/reject")
    assert asked.body == {"reason": "worse", "lineage_sha256": DIGEST}


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("approve", JOB_ID), "give either --lambda LIST or --all"),
        (("approve", JOB_ID, "--all", "--lambda", "0.5"), "give either --lambda LIST or --all"),
        (("approve", JOB_ID, "--lambda", "0.7"), "has no λ 0.7; it has 0.5"),
        (("approve", JOB_ID, "--lambda", "x"), "--lambda: 'x' is no number"),
        (("approve", JOB_ID, "--all"), "has no output to decide about"),
        (("reject", JOB_ID, "--all"), "Missing option '--reason'"),
        (("approve", JOB_ID, "--lambda", "0.5,0.5", "--lineage-sha256", DIGEST), "is of one output, and 2 are meant"),
    ],
)
def test_wrong_usage_decides_about_nothing(crossfade: Crossfade, args: tuple[str, ...], reason: str):
    with FakeService() as service:
        ended = crossfade(*args, "--url", service.url)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert reason in ended.stderr
    assert [asked for asked in service.asked if asked.method == "POST"] == []


def test_show_says_what_waits_and_how_to_approve_it(crossfade: Crossfade):
    with FakeService(requires_approval=True, is_staged=True) as service:
        ended = crossfade("show", JOB_ID, "--url", service.url)
        listed = crossfade("list", "--url", service.url)
    assert ended.returncode == 0
    assert "RUNNING, approving" in ended.stdout
    assert ended.stdout.splitlines()[-1].split() == ["0.5", "waits", "instruct-pad-0.5", "(staged)"]
    assert ended.stderr == f"waits for approval, λ = 0.5: crossfade approve {JOB_ID} --lambda LIST | --all\n"
    assert "RUNNING, approving" in listed.stdout


def test_watch_says_what_waits_and_ends_there_only_where_it_is_told_to(crossfade: Crossfade):
    with FakeService(requires_approval=True) as service:
        ended = crossfade("watch", JOB_ID, "--until-staged", "--url", service.url)
        crossfade("approve", JOB_ID, "--all", "--url", service.url)
        again = crossfade("watch", JOB_ID, "--url", service.url)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1].split() == ["0.5", "waits", "instruct-pad-0.5", "(staged)"]
    assert f"crossfade approve {JOB_ID}" in ended.stderr
    assert again.returncode == 0
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["approval", "approved", "approved"]


def test_watch_goes_on_while_a_job_waits(crossfade: Crossfade):
    with FakeService(requires_approval=True, is_staged=True, polls_to_end=3) as service:
        ended = crossfade("watch", JOB_ID, "--url", service.url)
    assert ended.returncode == 0
    assert ended.stderr.count("waits for approval") == 1
    assert DIGEST in ended.stdout


def test_watch_of_a_job_that_ends_rejected_is_exit_1(crossfade: Crossfade):
    with FakeService(requires_approval=True, is_staged=True) as service:
        crossfade("reject", JOB_ID, "--all", "--reason", "no", "--url", service.url)
        ended = crossfade("watch", JOB_ID, "--until-staged", "--url", service.url)
    assert ended.returncode == 1
    assert f"job {JOB_ID} ended FAILED" in ended.stderr
