"""A run that fails at any request leaves nothing visible and nothing broken; the next one publishes, by one commit."""

import contextlib

import pytest

from crossfade_core.errors import SinkError
from tests.fakes.http_faults import Disconnect, LoseAnswer, Status
from tests.registries.hub_sink.publishing import FILES, IGNORED, REPO, asked, destination, held
from tests.registries.staging import publish

pytestmark = pytest.mark.filterwarnings(IGNORED)

FAULTS = [Status(418), Status(503, {"Retry-After": "0"}), Disconnect(), LoseAnswer()]
MOST_REQUESTS = 40


def run(open_sink, name, outputs):
    sink = open_sink(to=destination(outputs))
    with contextlib.suppress(SinkError):  # as at a job's beginning, where a Hub that is away is waited for
        sink.check_free(name)
    return publish(sink, name, FILES)


@pytest.mark.parametrize("outputs", ["repo", "branch"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__ + str(getattr(fault, "code", "")))
def test_run_that_fails_at_any_request_can_be_run_again(hub, opened, fault, outputs):
    failed = []
    for position in range(MOST_REQUESTS):
        repo, revision = f"tuned-{position}", "0.5" if outputs == "branch" else "main"
        name = f"{repo}/{revision}" if outputs == "branch" else repo
        before = len(hub.requests)
        hub.fail(fault, skip=position)
        first = None
        try:
            first = run(opened, name, outputs)
        except SinkError as error:
            failed.append(error.code)
        is_spared = len(hub.requests) - before <= position
        hub.traffic.faults.clear()
        assert run(opened, name, outputs) == first or first is None, position
        assert held(hub, f"team/{repo}", revision) == FILES, position
        assert len(hub.commits(f"team/{repo}", revision)) == 2, position
        if is_spared:
            break
    assert is_spared, "a run makes more requests than this test lets fail"
    assert asked(hub, method="PUT") > 10
    assert asked(hub, method="DELETE") == 0
    assert bool(failed) == (fault == Status(418))


def test_commit_whose_answer_was_lost_is_found_and_not_doubled(hub, opened):
    hub.fail(LoseAnswer(), path_contains="/commit/")
    uri = publish(opened(), "tuned", FILES)
    assert asked(hub, path="/commit/") == 2
    assert uri == f"hf://{REPO}@{hub.commits(REPO)[0].id}"
    assert len(hub.commits(REPO)) == 2
