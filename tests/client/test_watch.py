"""Following a job through everything a network does."""

import time

import pytest

from crossfade_client import Client, Progress, Reported, ServiceUnreachable, WaitTimedOut
from tests.client.fake_service import JOB_ID, FakeService


def test_progress_is_shown_and_the_ended_job_returned():
    shown: list[Progress] = []
    with FakeService() as service, Client(service.url) as client:
        job = client.wait(JOB_ID, on_progress=shown.append)
    assert job.state == "SUCCEEDED"
    assert shown[-1].bytes_done == shown[-1].bytes_total == 300
    assert any(far.eta_seconds == 1.0 for far in shown)


def test_a_dropped_stream_is_taken_up_behind_the_last_event():
    with FakeService(broken_streams=3) as service, Client(service.url) as client:
        job = client.wait(JOB_ID)
    asked = service.asked_for(f"/v1/merges/{JOB_ID}/events")
    assert job.state == "SUCCEEDED"
    assert [each.headers.get("Last-Event-ID") for each in asked] == [None, "1", "2", "3"]


def test_a_job_without_streams_is_polled():
    with FakeService(has_streams=False, polls_to_end=3) as service, Client(service.url) as client:
        job = client.wait(JOB_ID)
    assert job.state == "SUCCEEDED"
    assert len(service.asked_for(f"/v1/merges/{JOB_ID}")) == 3


def test_a_job_that_has_ended_is_returned_without_a_stream():
    with FakeService(has_ended=True) as service, Client(service.url) as client:
        client.wait(JOB_ID)
    assert service.asked_for(f"/v1/merges/{JOB_ID}/events") == []


def test_an_unknown_job_is_refused_at_once():
    with FakeService() as service, Client(service.url) as client, pytest.raises(Reported, match="no such job"):
        client.wait("other")
    assert len(service.asked) == 1


def test_a_refusal_on_the_way_ends_the_watch():
    with FakeService(broken_streams=1) as service, Client(service.url) as client:

        def lose_access(far: Progress) -> None:
            service.refusal = (401, {"code": "unauthorized", "detail": "no", "retryable": False})

        with pytest.raises(Reported, match="CROSSFADE_TOKEN"):
            client.wait(JOB_ID, on_progress=lose_access)


def test_a_service_that_stays_away_is_an_error_when_patience_ends():
    with FakeService(is_endless=True) as service, Client(service.url) as client, pytest.raises(ServiceUnreachable):
        client.wait(JOB_ID, on_progress=lambda far: service.stop(), absence_seconds=0.5)


def test_a_service_that_cannot_answer_for_a_moment_is_waited_for():
    with FakeService(broken_streams=1) as service, Client(service.url) as client:

        def fail_twice(far: Progress) -> None:
            if len(service.asked) == 1:
                service.refusal = (503, {"code": "store_unavailable", "detail": "away", "retryable": True})
                service.refusals_left = 2

        job = client.wait(JOB_ID, on_progress=fail_twice)
    assert job.state == "SUCCEEDED"
    assert service.refusals_left == 0


def test_a_service_that_asks_for_patience_is_not_away_however_often_it_does():
    limited = {"code": "rate_limited", "detail": "1200 requests a minute", "retryable": True}
    with FakeService(broken_streams=1) as service, Client(service.url) as client:

        def ask_for_patience(far: Progress) -> None:
            if len(service.asked) == 1:
                service.refusal, service.refusal_headers = (429, limited), {"Retry-After": "1"}
                service.refusals_left = 4  # a stream and a question, twice

        began = time.monotonic()
        job = client.wait(JOB_ID, on_progress=ask_for_patience, absence_seconds=0.5)
    assert job.state == "SUCCEEDED"
    assert service.refusals_left == 0
    assert time.monotonic() - began >= 2  # as it was asked to, both times


def test_a_wait_has_an_end_and_the_job_goes_on():
    began = time.monotonic()
    with FakeService(is_endless=True) as service, Client(service.url) as client:
        with pytest.raises(WaitTimedOut, match=r"is RUNNING and has not ended within 3 s"):
            client.wait(JOB_ID, timeout_seconds=3)
        assert 3 <= time.monotonic() - began < 60
        assert not client.get(JOB_ID).has_ended


def test_a_limited_wait_leaves_its_stream_in_time_to_end_itself_by_asking(monkeypatch):
    monkeypatch.setattr("crossfade_client.watch.STREAM_SILENCE_SECONDS", 0.3)
    monkeypatch.setattr("crossfade_client.connection.STREAM_SILENCE_SECONDS", 0.3)
    began = time.monotonic()
    with FakeService(is_endless=True) as service, Client(service.url) as client, pytest.raises(WaitTimedOut):
        client.wait(JOB_ID, timeout_seconds=4)
    assert 4 <= time.monotonic() - began < 60
    assert service.asked_for(f"/v1/merges/{JOB_ID}/events")


def test_a_job_is_asked_for_only_if_it_has_changed():
    with FakeService(has_streams=False, polls_to_end=4) as service, Client(service.url) as client:
        job = client.wait(JOB_ID)
    tags = [asked.headers.get("If-None-Match") for asked in service.asked_for(f"/v1/merges/{JOB_ID}")]
    assert tags == [None, 'W/"150"', 'W/"150"', 'W/"150"']
    assert job.has_succeeded


def test_a_service_that_is_away_at_first_is_waited_for_as_long_as_the_client_is_patient():
    away = (503, {"code": "store_unavailable", "detail": "away", "retryable": True})
    with FakeService(refusal=away, refusals_left=2) as service:
        with Client(service.url) as client, pytest.raises(Reported, match="away"):
            client.wait(JOB_ID)
        with Client(service.url, patience_seconds=30) as client:
            assert client.wait(JOB_ID).has_succeeded


@pytest.mark.parametrize(
    ("ending", "error", "code", "reason"),
    [
        ("FAILED", {"code": "tensors_differ", "message": "x differs", "blame": "user"}, "tensors_differ", "x differs"),
        ("CANCELLED", None, "cancelled", "was cancelled"),
        ("PARTIALLY_SUCCEEDED", None, "partially_succeeded", "ended PARTIALLY_SUCCEEDED"),
    ],
)
def test_a_job_that_failed_is_returned_and_an_error_where_success_is_required(ending, error, code, reason):
    with FakeService(ending=ending, error=error) as service, Client(service.url) as client:
        job = client.wait(JOB_ID)
    assert (job.has_ended, job.has_succeeded, job.state) == (True, False, ending)
    with pytest.raises(Reported, match=reason) as caught:
        job.require_success()
    assert caught.value.code == code


def test_success_that_is_required_of_a_running_job_is_an_error_and_of_one_that_has_succeeded_none():
    with FakeService(polls_to_end=2) as service, Client(service.url) as client:
        with pytest.raises(Reported, match="is still RUNNING"):
            client.get(JOB_ID).require_success()
        assert client.get(JOB_ID).require_success().id == JOB_ID


def test_job_that_waits_for_approval_is_told_of_once_and_followed_to_its_end():
    told = []

    def approve(job):
        told.append([output.is_waiting for output in job.outputs])
        client.approve(job.id, 0, reason="fine")

    with FakeService(requires_approval=True) as service, Client(service.url) as client:
        job = client.wait(JOB_ID, on_waiting=approve)
    assert told == [[True]]
    assert (job.state, job.outputs[0].approval) == ("SUCCEEDED", "APPROVED")


def test_job_that_waits_for_approval_is_returned_where_that_is_waited_for():
    with FakeService(requires_approval=True) as service, Client(service.url) as client:
        job = client.wait(JOB_ID, until_staged=True)
    assert job.waits_for_approval
    assert not job.has_ended
