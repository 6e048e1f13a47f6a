"""`crossfade submit --dry-run`: the service's plan, for people and for machines; it submits nothing."""

import json

import pytest

from tests.cli.conftest import Crossfade
from tests.client.fake_service import REPORT, FakeService

SUBMIT = ("submit", "local://m/base", "local://m/instruct", "--lambda", "0:0.3:0.1", "--destination", "outputs")
REFUSED = {
    "accepted": False,
    "exception_count": 90,
    "estimate": None,
    "scratch_bytes": None,
    "job": "job-7",
    "obstacles": [
        {
            "code": "plan_refused",
            "message": "2 tensor(s) cannot be merged",
            "details": {"refusals": [{"tensor": "w", "reason": "shape [2] in base, [3] in instruct"}], "count": 2},
        },
        {"code": "output_exists", "message": "/srv/out/a exists\x1b[2J", "details": {}},
    ],
}


def test_plan_is_shown_with_its_costs_and_nothing_is_submitted(crossfade: Crossfade):
    with FakeService() as service:
        ended = crossfade(*SUBMIT, "--dry-run", "--label", "team=eval", "--url", service.url)
    (asked,) = service.asked
    assert (asked.method, asked.path) == ("POST", "/v1/plans")
    assert (asked.body["lambdas"], asked.body["labels"]) == ([0.0, 0.1, 0.2, 0.3], {"team": "eval"})
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    for line in (
        "tensors: 1 copy_base, 2 interpolate",
        "note: the head is tied in both",
        "1 tensor is not plainly interpolated",
        "rotary.inv_freq copy_base only in the base",
        f"instruct: {REPORT['sources']['instruct']}",
        "in all: 8.0 MB for 1 λ",
        "scratch: 3.0 MB on the worker's disk",
        "takes: about 0:01:01, at 1.0 MB/s as the last 7 job(s)",
        "0.5 instruct-pad-0.5",
    ):
        assert line in lines


def test_what_would_be_refused_is_shown_in_full_and_exits_1(crossfade: Crossfade):
    with FakeService(report={**REPORT, **REFUSED}) as service:
        ended = crossfade(*SUBMIT, "--dry-run", "--url", service.url)
    assert ended.returncode == 1
    assert ended.stderr == "crossfade: a submission would be refused: 2 obstacle(s)\n"
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    for line in (
        "90 tensors are not plainly interpolated; the first 1:",
        "job: job-7 makes the same already; --fresh makes it again",
        "refused: 2 tensor(s) cannot be merged",
        "w shape [2] in base, [3] in instruct",
        "refused: /srv/out/a exists\\x1b[2J",
    ):
        assert line in lines
    assert "takes:" not in ended.stdout


@pytest.mark.parametrize(("changes", "code"), [({}, 0), (REFUSED, 1)])
def test_machines_get_the_report_as_the_service_gave_it(crossfade: Crossfade, changes: dict[str, object], code: int):
    report = {**REPORT, **changes}
    with FakeService(report=report) as service:
        ended = crossfade(*SUBMIT, "--dry-run", "--json", "--url", service.url)
    assert ended.returncode == code
    assert json.loads(ended.stdout) == report


def test_problem_is_told_as_with_a_submission(crossfade: Crossfade):
    problem = {"code": "source_not_found", "detail": "local://m/base: nothing lies there"}
    with FakeService(refusal=(422, problem)) as service:
        ended = crossfade(*SUBMIT, "--dry-run", "--url", service.url)
    assert (ended.returncode, ended.stderr) == (1, "crossfade: local://m/base: nothing lies there\n")


@pytest.mark.parametrize("option", [("--watch",), ("--idempotency-key", "x")])
def test_there_is_nothing_to_follow_or_to_send_again(crossfade: Crossfade, option: tuple[str, ...]):
    ended = crossfade(*SUBMIT, "--dry-run", *option)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--dry-run: submits nothing" in ended.stderr
