"""Following a job through everything a network does."""

import pytest

from crossfade_cli.client import Client
from crossfade_cli.views import Progress
from crossfade_cli.watch import Watch
from crossfade_core.errors import Reported, ServiceUnreachable
from tests.cli.fake_service import JOB_ID, FakeService


def test_progress_is_shown_and_the_ended_job_returned():
    shown: list[Progress] = []
    with FakeService() as service, Client(service.url) as client:
        job = Watch(client, JOB_ID, shown.append).until_end()
    assert job.state == "SUCCEEDED"
    assert shown[-1].bytes_done == shown[-1].bytes_total == 300
    assert any(far.eta_seconds == 1.0 for far in shown)


def test_a_dropped_stream_is_taken_up_behind_the_last_event():
    with FakeService(broken_streams=3) as service, Client(service.url) as client:
        job = Watch(client, JOB_ID, lambda far: None).until_end()
    asked = service.asked_for(f"/v1/merges/{JOB_ID}/events")
    assert job.state == "SUCCEEDED"
    assert [each.headers.get("Last-Event-ID") for each in asked] == [None, "1", "2", "3"]


def test_a_job_without_streams_is_polled():
    with FakeService(has_streams=False, polls_to_end=3) as service, Client(service.url) as client:
        job = Watch(client, JOB_ID, lambda far: None).until_end()
    assert job.state == "SUCCEEDED"
    assert len(service.asked_for(f"/v1/merges/{JOB_ID}")) == 3


def test_a_job_that_has_ended_is_returned_without_a_stream():
    with FakeService(has_ended=True) as service, Client(service.url) as client:
        Watch(client, JOB_ID, lambda far: None).until_end()
    assert service.asked_for(f"/v1/merges/{JOB_ID}/events") == []


def test_an_unknown_job_is_refused_at_once():
    with FakeService() as service, Client(service.url) as client, pytest.raises(Reported, match="no such job"):
        Watch(client, "other", lambda far: None).until_end()
    assert len(service.asked) == 1


def test_a_refusal_on_the_way_ends_the_watch():
    with FakeService(broken_streams=1) as service, Client(service.url) as client:

        def lose_access(far: Progress) -> None:
            service.refusal = (401, {"code": "unauthorized", "detail": "no", "retryable": False})

        with pytest.raises(Reported, match="CROSSFADE_TOKEN"):
            Watch(client, JOB_ID, lose_access).until_end()


def test_a_service_that_stays_away_is_an_error_when_patience_ends():
    with FakeService(is_endless=True) as service, Client(service.url) as client:
        watch = Watch(client, JOB_ID, lambda far: service.stop(), patience_seconds=0.5)
        with pytest.raises(ServiceUnreachable):
            watch.until_end()


def test_a_service_that_cannot_answer_for_a_moment_is_waited_for():
    with FakeService(broken_streams=1) as service, Client(service.url) as client:

        def fail_twice(far: Progress) -> None:
            if len(service.asked) == 1:
                service.refusal = (503, {"code": "store_unavailable", "detail": "away", "retryable": True})
                service.refusals_left = 2

        job = Watch(client, JOB_ID, fail_twice).until_end()
    assert job.state == "SUCCEEDED"
    assert service.refusals_left == 0
