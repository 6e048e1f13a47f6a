"""The client against the service itself: every call of it, over real HTTP."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from crossfade_client import Client, JobState, MergeSpec, Reported, WaitTimedOut
from crossfade_core.job import Phase
from tests.api.conftest import SPEC
from tests.client.conftest import TOKEN, RealService


@pytest.fixture
def client(real_service: RealService) -> Iterator[Client]:
    with Client(real_service.url, TOKEN) as client:
        yield client


def test_a_job_is_submitted_shown_and_listed_with_every_field_typed(client: Client):
    before = datetime.now(UTC)
    job = client.submit(MergeSpec.model_validate({**SPEC, "labels": {"team": "eval"}}))
    assert client.get(job.id) == job
    assert (job.state, job.spec.lambdas, job.spec.labels) == (JobState.QUEUED, (0.0, 0.5), {"team": "eval"})
    assert before - timedelta(seconds=1) < job.created_at < datetime.now(UTC) + timedelta(seconds=1)
    assert [output.lam for output in job.outputs] == [0.0, 0.5]
    (listed,) = client.jobs(labels={"team": "eval"}, state=JobState.QUEUED)
    assert (listed.id, listed.spec, listed.links) == (job.id, job.spec, job.links)
    assert [(each.lam, each.name, each.state) for each in listed.outputs] == [
        (each.lam, each.name, each.state) for each in job.outputs
    ]
    assert list(client.jobs(labels={"team": "other"})) == []


def test_all_pages_are_listed(client: Client):
    made = [client.submit({**SPEC, "output_name": f"{number}-{{lambda}}"}).id for number in range(5)]
    page = client.list_jobs(limit=2)
    assert (len(page.items), page.next is None) == (2, False)
    assert [job.id for job in page.items] + [job.id for job in client.list_jobs(page=page.next).items] == made[::-1]
    assert [job.id for job in client.jobs()] == made[::-1]


def test_the_same_key_gets_the_same_job(client: Client):
    fresh = {**SPEC, "fresh": True}
    first, again = (client.submit(fresh, idempotency_key="release-7") for _ in range(2))
    assert again.id == first.id
    with pytest.raises(Reported) as caught:
        client.submit({**fresh, "lambdas": [0.3]}, idempotency_key="release-7")
    assert (caught.value.code, caught.value.blame) == ("idempotency_mismatch", "user")


def test_a_job_is_waited_for_to_its_end(client: Client, real_service: RealService):
    job = client.submit(SPEC)
    shown = []
    end = threading.Timer(0.5, real_service.succeed, (job.id,))
    end.start()
    ended = client.wait(job.id, timeout_seconds=60, on_progress=shown.append)
    end.join()
    assert ended.require_success().plan.tensors == 2
    assert [output.files[0].sha256 for output in ended.outputs] == ["ab" * 32] * 2
    assert (shown[-1].bytes_done, shown[-1].units_total) == (500, 1)
    assert ended.finished_at > ended.created_at


def test_events_are_streamed_from_any_of_them_on(client: Client, real_service: RealService):
    job = client.submit(SPEC)
    real_service.succeed(job.id)
    events = list(client.events(job.id))
    stored = [event for event in events if event.id]
    assert (stored[0].type, stored[-1].type) == ("job.queued", "job.succeeded")
    assert [event.id for event in client.events(job.id, stored[1].id) if event.id] == [e.id for e in stored[2:]]


def test_a_job_that_has_not_changed_is_not_sent_again(client: Client, caplog: pytest.LogCaptureFixture):
    job = client.submit(SPEC)
    caplog.set_level(logging.INFO, "httpx")
    with pytest.raises(WaitTimedOut):
        client.wait(job.id, timeout_seconds=5)
    answers = [record.getMessage().rpartition("HTTP/1.1 ")[2] for record in caplog.records if record.name == "httpx"]
    assert answers[0] == '200 OK"'
    assert set(answers[1:]) == {'304 Not Modified"'}


def test_a_job_is_cancelled_and_a_failed_one_retried(client: Client, real_service: RealService):
    job = client.submit(SPEC)
    assert client.cancel(job.id).state is JobState.CANCELLED
    with pytest.raises(Reported) as caught:
        client.retry(job.id)
    assert caught.value.code == "illegal_transition"
    failed = real_service.begin(client.submit({**SPEC, "fresh": True}).id)
    error = {"code": "disk_full", "message": "full", "blame": "service", "retryable": True, "details": {}}
    real_service.store.move_job(failed, JobState.FAILED, phase=Phase.DONE, error=error)
    with pytest.raises(Reported, match="full") as caught:
        client.wait(failed).require_success()
    assert (caught.value.code, caught.value.retryable) == ("disk_full", True)
    assert client.retry(failed).state is JobState.QUEUED


def test_keys_are_made_used_and_revoked(client: Client, real_service: RealService):
    made = client.create_key("release", scopes=["read"], expires_at=datetime.now(UTC) + timedelta(days=1))
    with Client(real_service.url, made.secret) as reader:
        assert reader.list_jobs().items == ()
        with pytest.raises(Reported) as caught:
            reader.submit(SPEC)
        assert caught.value.code == "scope_missing"
        assert [key.name for key in client.list_keys().items] == ["release"]
        assert client.revoke_key("release").revoked_at is not None
        with pytest.raises(Reported) as caught:
            reader.list_jobs()
    assert caught.value.code == "unauthorized"


def test_lineage_is_asked_by_digest_and_by_uri(client: Client, real_service: RealService):
    job = client.submit(SPEC)
    real_service.succeed(job.id)
    found = client.lineage(digest="ab" * 32, depth=1)
    assert {(match.job, match.files) for match in found.matches} == {(job.id, ("model.safetensors",))}
    (match,) = client.lineage(uri=found.matches[0].uri).matches
    assert (match.kind, match.lam, match.checkpoint) == ("output", found.matches[0].lam, found.matches[0].checkpoint)
    for asked in ({"digest": "cd" * 32}, {"uri": "s3://a/b"}):
        with pytest.raises(Reported) as caught:
            client.lineage(**asked)
        assert caught.value.code == "lineage_not_found"
    with pytest.raises(Reported) as caught:
        client.lineage()
    assert caught.value.code == "invalid_spec"


def test_outputs_are_approved_and_rejected(client: Client, real_service: RealService):
    job = client.submit(SPEC)
    job_id = real_service.begin(job.id)
    digest = "cd" * 32
    for position in range(2):
        files = {"lineage.json": {"size_bytes": 2, "sha256": digest}}
        real_service.store.stage_output(job_id, position, files)
    assert [output.is_waiting for output in client.wait(job.id, until_staged=True).outputs] == [True] * 2
    assert client.get(job.id).waits_for_approval
    approved = client.approve(job.id, 0, reason="fine", lineage_sha256=digest).outputs[0]
    assert (approved.approval, approved.approval_reason, approved.state) == ("APPROVED", "fine", "STAGED")
    rejected = client.reject(job.id, 1, reason="no").outputs[1]
    assert (rejected.approval, rejected.state, rejected.error.code) == ("REJECTED", "FAILED", "output_rejected")
    with pytest.raises(Reported) as caught:
        client.reject(job.id, 0, reason="no")
    assert caught.value.code == "illegal_transition"
