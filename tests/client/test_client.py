"""The client of the REST API against a real HTTP server."""

from datetime import UTC, datetime

import pytest

from crossfade_client import Client, MergeSpec, Reported, ServiceUnreachable
from tests.client.fake_service import JOB_ID, SECRET, FakeService

SPEC = {"base": "local://m/base", "instruct": "local://m/instruct", "lambdas": [0.3], "destination": "outputs"}


def test_submit_posts_the_spec_as_it_is_given():
    with FakeService() as service, Client(service.url) as client:
        job = client.submit(SPEC)
    assert job.id == JOB_ID
    assert service.asked_for("/v1/merges")[0].body == SPEC


def test_the_token_is_sent_as_a_bearer_token_and_only_when_there_is_one():
    with FakeService() as service:
        for token in ("s3cret", None):
            with Client(service.url, token) as client:
                client.get(JOB_ID)
    sent = [asked.headers.get("Authorization") for asked in service.asked]
    assert sent == ["Bearer s3cret", None]


def test_fields_this_client_does_not_know_are_kept_for_machines():
    with FakeService() as service, Client(service.url) as client:
        shown = client.get(JOB_ID).as_json()
    assert shown["later_field"] == "kept"
    assert shown["outputs"][0]["lambda"] == 0.5


def test_a_job_id_cannot_lead_to_another_path():
    with FakeService() as service, Client(service.url) as client, pytest.raises(Reported):
        client.get("../../readyz?x=1")
    assert [asked.path for asked in service.asked] == ["/v1/merges/..%2F..%2Freadyz%3Fx%3D1"]


def test_a_problem_becomes_an_error_with_its_fields():
    problem = {
        "code": "invalid_spec",
        "detail": "the spec is not valid",
        "blame": "user",
        "retryable": False,
        "errors": [{"pointer": "/lambdas/0", "message": "λ must be finite"}],
    }
    with (
        FakeService(refusal=(422, problem)) as service,
        Client(service.url) as client,
        pytest.raises(Reported) as caught,
    ):
        client.submit(SPEC)
    assert caught.value.message == "the spec is not valid; /lambdas/0: λ must be finite"
    assert (caught.value.code, caught.value.blame, caught.value.retryable) == ("invalid_spec", "user", False)
    assert caught.value.as_record()["errors"] == problem["errors"]


def test_a_refused_token_is_told_with_the_variable_to_set():
    problem = {"code": "unauthorized", "detail": "a bearer token is needed"}
    with (
        FakeService(refusal=(401, problem)) as service,
        Client(service.url) as client,
        pytest.raises(Reported, match="CROSSFADE_TOKEN"),
    ):
        client.get(JOB_ID)


def test_an_answer_that_is_no_problem_is_told_by_its_status():
    with (
        FakeService(refusal=(404, {"error": "nope"})) as service,
        Client(service.url) as client,
        pytest.raises(Reported, match="404 Not Found; is it a crossfade service"),
    ):
        client.get(JOB_ID)


def test_an_answer_of_another_shape_is_no_crossfade_service():
    with (
        FakeService(refusal=(200, {"hello": "world"})) as service,
        Client(service.url) as client,
        pytest.raises(ServiceUnreachable, match="does not answer like a crossfade service"),
    ):
        client.get(JOB_ID)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://127.0.0.1", "nonsense", "http://[", "http://no.invalid"])
def test_a_url_where_nobody_answers_is_named_in_the_error(url: str):
    with pytest.raises(ServiceUnreachable) as caught, Client(url) as client:
        client.get(JOB_ID)
    assert url in caught.value.message


def test_events_are_asked_for_behind_the_last_one_seen():
    with FakeService() as service, Client(service.url) as client:
        events = list(client.events(JOB_ID, "2"))
    assert [event.id for event in events if event.id] == ["3", "4"]
    assert service.asked[0].headers["Last-Event-ID"] == "2"
    assert service.asked[0].headers["Accept"] == "text/event-stream"


def test_a_stream_that_breaks_off_is_an_error_and_not_an_end():
    with FakeService(broken_streams=1) as service, Client(service.url) as client, pytest.raises(ServiceUnreachable):
        list(client.events(JOB_ID))


def test_a_spec_of_the_core_is_sent_as_it_was_written():
    spec = MergeSpec(base="local://m/base", instruct="local://m/instruct", lambdas=(0.3,), destination="outputs")
    with FakeService() as service, Client(service.url) as client:
        client.submit(spec, idempotency_key="release-7")
    (asked,) = service.asked
    assert (asked.body, asked.headers["Idempotency-Key"]) == (SPEC, "release-7")


def test_jobs_are_listed_by_all_that_is_wanted_of_them():
    with FakeService() as service, Client(service.url) as client:
        client.list_jobs(limit=7, page="1", state="RUNNING", base=None, labels={"team": "eval", "run": "a=b"})
    assert service.asked[0].query == {
        "limit": ["7"],
        "page": ["1"],
        "state": ["RUNNING"],
        "label": ["team=eval", "run=a=b"],
    }


def test_all_jobs_are_listed_page_by_page_as_they_are_needed():
    with FakeService(page_count=3) as service, Client(service.url) as client:
        jobs = client.jobs(labels={"team": "eval"})
        assert [next(jobs).id, len(service.asked)] == [JOB_ID, 1]
        assert len(list(jobs)) == 2
    assert [asked.query.get("page") for asked in service.asked] == [None, ["2"], ["3"]]
    assert {asked.query["label"][0] for asked in service.asked} == {"team=eval"}


def test_keys_are_made_listed_and_revoked():
    expires_at = datetime(2027, 1, 1, tzinfo=UTC)
    with FakeService() as service, Client(service.url) as client:
        made = client.create_key("release", scopes=["read"], max_jobs=5, requests_per_minute=60, expires_at=expires_at)
        (listed,) = client.list_keys().items
        revoked = client.revoke_key("release")
    limits = {"max_jobs": 5, "requests_per_minute": 60, "expires_at": "2027-01-01T00:00:00+00:00"}
    assert service.asked[0].body == {"name": "release", "scopes": ["read"], **limits}
    assert (made.secret, listed.expires_at) == (SECRET, expires_at)
    assert revoked.revoked_at == datetime(2026, 11, 21, tzinfo=UTC)
