"""What fails in passing is sent again, if it may be, for as long as the client is patient."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

from crossfade_client import Client, Reported, ServiceUnreachable
from tests.client.fake_service import JOB_ID, SPEC, FakeService

AWAY = (503, {"code": "store_unavailable", "detail": "away", "retryable": True})
LIMITED = (429, {"code": "queue_limit_reached", "detail": "five already", "retryable": True})
IN_FLIGHT = (409, {"code": "request_in_flight", "detail": "being answered", "retryable": True})
GATEWAY = (502, {"not": "a problem"})
REFUSED = (422, {"code": "invalid_spec", "detail": "no", "retryable": False})


@pytest.mark.parametrize("refusal", [AWAY, LIMITED, IN_FLIGHT, GATEWAY])
def test_a_submission_with_a_key_is_sent_again_until_it_is_answered(refusal):
    with FakeService(refusal=refusal, refusals_left=2) as service, Client(service.url, patience_seconds=30) as client:
        client.submit(SPEC, idempotency_key="release-7")
    assert [asked.headers["Idempotency-Key"] for asked in service.asked] == ["release-7"] * 3
    assert [asked.body for asked in service.asked] == [SPEC] * 3


def test_a_question_is_asked_again_when_its_answer_was_lost():
    with FakeService(lost_answers=2) as service, Client(service.url, patience_seconds=30) as client:
        assert client.get(JOB_ID).id == JOB_ID
    assert len(service.asked) == 3


def test_a_dry_run_is_a_question_though_it_is_posted():
    with FakeService(refusal=AWAY, refusals_left=2) as service, Client(service.url, patience_seconds=30) as client:
        assert client.plan(SPEC).accepted
    assert [asked.path for asked in service.asked] == ["/v1/plans"] * 3


@pytest.mark.parametrize("refusal", [AWAY, LIMITED])
@pytest.mark.parametrize("call", [lambda client: client.submit(SPEC), lambda client: client.retry(JOB_ID)])
def test_what_might_be_done_twice_is_sent_once(refusal, call):
    with FakeService(refusal=refusal) as service, Client(service.url, patience_seconds=30) as client:
        with pytest.raises(Reported) as caught:
            call(client)
        assert caught.value.retryable
    assert len(service.asked) == 1


def test_a_lost_answer_to_what_might_be_done_twice_is_an_error_at_once():
    with (
        FakeService(lost_answers=1) as service,
        Client(service.url, patience_seconds=30) as client,
        pytest.raises(ServiceUnreachable),
    ):
        client.submit(SPEC)
    assert len(service.asked) == 1


def test_what_cannot_get_better_is_an_error_at_once():
    with (
        FakeService(refusal=REFUSED) as service,
        Client(service.url, patience_seconds=30) as client,
        pytest.raises(Reported),
    ):
        client.submit(SPEC, idempotency_key="release-7")
    assert len(service.asked) == 1


def test_a_client_without_patience_asks_once():
    with FakeService(refusal=AWAY) as service, Client(service.url) as client, pytest.raises(Reported):
        client.get(JOB_ID)
    assert len(service.asked) == 1


def test_patience_ends_with_the_last_error(monkeypatch):
    waits = []
    clock = SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append)
    monkeypatch.setattr("crossfade_client.connection.time", clock)
    with (
        FakeService(refusal=AWAY) as service,
        Client(service.url, patience_seconds=1) as client,
        pytest.raises(Reported, match="away"),
    ):
        client.get(JOB_ID)
    assert 0 < sum(waits) <= 1
    assert len(service.asked) == len(waits) + 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_service_is_left_alone_for_as_long_as_it_asks(form):
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    headers = {"Retry-After": "1" if form == "seconds" else at}
    began = time.monotonic()
    with (
        FakeService(refusal=LIMITED, refusals_left=1, refusal_headers=headers) as service,
        Client(service.url, patience_seconds=30) as client,
    ):
        client.get(JOB_ID)
    assert time.monotonic() - began >= 1
    assert len(service.asked) == 2


def test_a_service_that_asks_for_more_than_there_is_patience_is_not_waited_for():
    began = time.monotonic()
    with (
        FakeService(refusal=LIMITED, refusal_headers={"Retry-After": "3600"}) as service,
        Client(service.url, patience_seconds=30) as client,
        pytest.raises(Reported) as caught,
    ):
        client.get(JOB_ID)
    assert time.monotonic() - began < 10
    assert caught.value.record["retry_after_seconds"] == 3600
    assert len(service.asked) == 1


@pytest.mark.parametrize("nonsense", ["soon", "-1", "1.5", "", "²"])
def test_a_pause_that_is_none_is_passed_over(nonsense):
    with (
        FakeService(refusal=AWAY, refusal_headers={"Retry-After": nonsense.encode().decode("latin-1")}) as service,
        Client(service.url) as client,
        pytest.raises(Reported) as caught,
    ):
        client.get(JOB_ID)
    assert "retry_after_seconds" not in caught.value.record


def test_decision_is_sent_again_since_the_same_again_changes_nothing():
    with FakeService(lost_answers=2) as service, Client(service.url, patience_seconds=30) as client:
        client.approve(JOB_ID, 0, reason="fine", lineage_sha256="ab" * 32)
    assert [asked.body for asked in service.asked] == [{"reason": "fine", "lineage_sha256": "ab" * 32}] * 3
