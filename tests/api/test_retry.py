"""A failed job is queued again under its own id."""

from datetime import timedelta

import pytest

from crossfade_core.job import JobId, JobState, Phase
from crossfade_core.messages import PLAN, PUBLISH

ERROR = {"code": "disk_full", "message": "full", "blame": "service", "retryable": True, "details": {}}


@pytest.fixture
def failed(deployment):
    job = deployment.submit()
    job_id = deployment.begin(job["id"])
    deployment.finish_unit(job_id, 0)
    until = deployment.store.get_job(job_id).created_at + timedelta(days=1)
    deployment.store.move_job(job_id, JobState.FAILED, phase=Phase.DONE, error=ERROR, staged_until=until)
    deployment.queue.sent.clear()
    return deployment.client.get(job["links"]["self"]).json()


def test_failed_job_is_queued_again_with_its_finished_units(deployment, failed):
    assert failed["staged_until"] is not None
    answer = deployment.client.post(failed["links"]["retry"])
    job = answer.json()
    assert (answer.status_code, job["id"], job["state"]) == (202, failed["id"], "QUEUED")
    assert (job["progress"]["units_done"], job["error"], job["finished_at"]) == (1, None, None)
    assert deployment.queue.sent == [(PLAN, failed["id"])]


def test_retry_of_a_job_that_has_not_failed_says_what_can_be_retried(deployment):
    job = deployment.submit()
    answer = deployment.client.post(job["links"]["retry"])
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert "FAILED or PARTIALLY_SUCCEEDED" in answer.json()["detail"]


def test_retry_while_a_worker_puts_things_away_waits_for_it(deployment, failed):
    job_id = JobId(failed["id"])
    assert deployment.store.lease_job(job_id, "control-1", 60)
    answer = deployment.client.post(failed["links"]["retry"])
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert "ask again" in answer.json()["detail"]
    deployment.store.release_job(job_id, "control-1")
    assert deployment.client.post(failed["links"]["retry"]).status_code == 202


def test_stream_of_a_retried_job_does_not_end_with_its_first_failure(deployment, failed):
    deployment.client.post(failed["links"]["retry"])
    deployment.client.post(failed["links"]["cancel"])
    told = deployment.client.get(failed["links"]["events"], headers={"accept": "text/event-stream"}).text
    ends = [line.removeprefix("event: ") for line in told.splitlines() if line.startswith("event: job.")]
    assert ends == ["job.queued", "job.running", "job.phase", "job.failed", "job.retried", "job.cancelled"]


def test_cancel_of_a_retried_job_has_what_it_staged_put_away(deployment, failed):
    deployment.client.post(failed["links"]["retry"])
    deployment.queue.sent.clear()
    job = deployment.client.post(failed["links"]["cancel"]).json()
    assert job["state"] == "CANCELLED"
    assert deployment.queue.sent == [(PUBLISH, failed["id"])]
    assert deployment.store.get_job(JobId(failed["id"])).staged_until is not None, "the sweep looks after it"
