"""What the job store promises about outputs that wait and about decisions, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.approval import Decision, waits_only
from crossfade_core.audit import Action
from crossfade_core.errors import IllegalTransition, JobNotFound, OutputNotFound, QueueLimitReached
from crossfade_core.job import Approval, JobId, JobState, OutputState, Phase
from crossfade_core.job_store import Kept, NewUnit, Submission
from crossfade_core.key_store import NewKey
from crossfade_core.webhooks import EventType, NewWebhook
from crossfade_stores.audit_log import SqlAuditLog
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.key_store import SqlKeyStore
from crossfade_stores.webhook_store import SqlWebhookStore

APPROVED, REJECTED = Approval.APPROVED, Approval.REJECTED
DIGEST = "ab" * 32
FILES = {"lineage.json": {"size_bytes": 2, "sha256": DIGEST}}
STATISTICS = {"realised": 0.5, "warnings": []}


def approve(by="reviewer", reason=None):
    return Decision(APPROVED, by, reason)


@pytest.fixture
def staged(store, spec):
    """A job whose three outputs are STAGED."""
    job = store.create_job(spec, Submission("alice"))
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    store.save_plan(job.id, {}, [NewUnit({}, 100)])
    for position in range(3):
        store.stage_output(job.id, position, FILES, statistics=STATISTICS, kept=Kept({DIGEST: b"{}"}))
    return job.id


def told(store, job_id):
    return [(event.type, event.data) for event in store.list_events(job_id) if event.type.startswith("output.")]


def types(store, job_id):
    return [kind for kind, _ in told(store, job_id)]


def test_staged_output_is_kept_with_its_files_and_when(store, staged, clock):
    clock.advance(5)
    store.stage_output(staged, 0, {}, statistics=None)  # a doubled message
    (output, *_) = store.list_outputs(staged)
    assert (output.state, output.approval, output.files) == (OutputState.STAGED, Approval.PENDING, FILES)
    assert (output.statistics, output.uri, output.ended_at) == (STATISTICS, None, None)
    assert (clock.now() - output.staged_at).total_seconds() == 5
    data = {"position": 0, "lambda": 0.5, "name": output.name, "lineage_sha256": DIGEST}
    assert told(store, staged)[0] == ("output.staged", data)
    assert len(told(store, staged)) == 3
    assert waits_only(store.output_summaries([staged])[staged])


def test_approval_is_told_logged_and_kept_at_once(store, engine, staged, clock):
    clock.advance(1)
    store.set_phase(staged, Phase.APPROVING)
    decided = store.decide_output(staged, 1, approve(reason="fine"))
    assert decided == store.list_outputs(staged)[1]
    assert (decided.state, decided.approval, decided.approval_reason) == (OutputState.STAGED, APPROVED, "fine")
    assert (decided.decided_by, decided.decided_at) == ("reviewer", clock.now())
    kind, data = told(store, staged)[-1]
    assert kind == "output.approved"
    assert (data["position"], data["lineage_sha256"], data["reason"], data["by"]) == (1, DIGEST, "fine", "reviewer")
    (entry, *_) = SqlAuditLog(engine, clock).list_entries()
    assert (entry.actor, entry.action, entry.subject, entry.data) == ("reviewer", Action.OUTPUT_APPROVED, staged, data)
    assert store.get_job(staged).phase is Phase.PUBLISHING
    entered = store.list_events(staged)[-2]
    assert (entered.type, entered.data) == ("job.phase", {"phase": "publishing"})


def test_rejection_of_a_staged_output_fails_it_in_the_same_step(store, staged, clock):
    decided = store.decide_output(staged, 0, Decision(REJECTED, "reviewer", "too bold"))
    assert (decided.state, decided.approval, decided.ended_at) == (OutputState.FAILED, REJECTED, clock.now())
    assert (decided.error["code"], decided.error["details"]["reason"]) == ("output_rejected", "too bold")
    assert types(store, staged)[-2:] == ["output.rejected", "output.failed"]


def test_published_output_is_marked_and_stays(store, staged):
    store.decide_output(staged, 0, approve())
    store.publish_output(staged, 0, "file:///a", FILES)
    marked = store.decide_output(staged, 0, Decision(REJECTED, "other", "found worse"))
    assert (marked.state, marked.uri, marked.error) == (OutputState.PUBLISHED, "file:///a", None)
    assert (marked.approval, marked.decided_by) == (REJECTED, "other")
    assert types(store, staged)[-3:] == ["output.approved", "output.published", "output.rejected"]


def test_decision_that_is_sent_again_is_told_once(store, engine, staged, clock):
    for by in ("reviewer", "reviewer", "another"):
        decided = store.decide_output(staged, 0, approve(by, "fine"))
    assert decided.decided_by == "reviewer"
    assert types(store, staged).count("output.approved") == 1
    assert [entry.action for entry in SqlAuditLog(engine, clock).list_entries()].count(Action.OUTPUT_APPROVED) == 1


def test_of_opposite_decisions_at_once_one_counts(engine, staged, clock):
    def decide(decision):
        try:
            SqlJobStore(engine, clock).decide_output(staged, 0, decision)
        except IllegalTransition:
            return None
        return decision.approval

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(decide, [approve(), Decision(REJECTED, "other", "no")] * 8))
    (counted,) = {approval for approval in found if approval is not None}
    store = SqlJobStore(engine, clock)
    assert store.list_outputs(staged)[0].approval is counted
    found = types(store, staged)
    assert found.count("output.approved") + found.count("output.rejected") == 1


def test_unknown_jobs_and_outputs_are_said_to_be(store, staged):
    with pytest.raises(OutputNotFound, match="has no output 3"):
        store.decide_output(staged, 3, approve())
    with pytest.raises(JobNotFound):
        store.decide_output(JobId("job-0"), 0, approve())


def test_job_that_only_waits_is_not_idle_until_somebody_decides(store, staged, clock):
    clock.advance(3600)
    assert store.idle_jobs(30) == []
    store.decide_output(staged, 0, approve())
    clock.advance(31)
    assert [job.id for job in store.idle_jobs(30)] == [staged]
    store.publish_output(staged, 0, "file:///a", FILES)
    clock.advance(31)
    assert store.idle_jobs(30) == []
    store.move_job(staged, JobState.CANCELLING, phase=Phase.CLEANING)
    clock.advance(31)
    assert [job.id for job in store.idle_jobs(30)] == [staged]


def test_job_that_only_waits_does_not_count_for_its_keys_limit(engine, store, staged, spec, clock):
    SqlKeyStore(engine, clock).create_key(NewKey("alice", frozenset(), max_jobs=1), "operator")
    store.check_limit("alice")
    other = store.create_job(spec, Submission("alice"))
    with pytest.raises(QueueLimitReached):
        store.check_limit("alice")
    store.move_job(other.id, JobState.CANCELLED, phase=Phase.DONE)
    store.check_limit("alice")
    store.decide_output(staged, 0, approve())
    with pytest.raises(QueueLimitReached):
        store.check_limit("alice")


def test_contents_are_kept_for_the_job_until_it_ends(store, staged):
    assert store.held_contents(staged, [DIGEST, "0" * 64]) == {DIGEST: b"{}"}
    assert store.held_contents(JobId("job-0"), [DIGEST]) == {}
    for position in range(3):
        store.decide_output(staged, position, approve())
        store.publish_output(staged, position, "file:///a", FILES)
    assert store.held_contents(staged, [DIGEST]) == {DIGEST: b"{}"}
    store.move_job(staged, JobState.SUCCEEDED, phase=Phase.DONE)
    assert store.held_contents(staged, [DIGEST]) == {}


@pytest.mark.parametrize(
    ("way", "ended"),
    [([JobState.FAILED], OutputState.FAILED), ([JobState.CANCELLING, JobState.CANCELLED], OutputState.CANCELLED)],
)
def test_staged_outputs_end_with_their_job(store, staged, way, ended):
    for state in way:
        store.move_job(staged, state, phase=Phase.DONE)
    assert {output.state for output in store.list_outputs(staged)} == {ended}


def test_failed_output_is_as_new_after_a_retry(store, staged, spec):
    for position in range(3):
        store.decide_output(staged, position, Decision(REJECTED, "reviewer", "no"))
    store.move_job(staged, JobState.FAILED, phase=Phase.DONE)
    store.retry_job(staged)
    again, fresh = store.list_outputs(staged), store.list_outputs(store.create_job(spec).id)
    assert [vars(output) | {"job_id": ""} for output in again] == [vars(output) | {"job_id": ""} for output in fresh]


def test_delays_count_anew_once_an_output_is_staged(store, spec):
    job = store.create_job(spec)
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    assert [store.delay_output(job.id, 0, {"code": "away"}) for _ in range(2)] == [1, 2]
    store.stage_output(job.id, 0, FILES)
    store.stage_output(job.id, 1, FILES)
    store.decide_output(job.id, 0, approve())
    assert [store.delay_output(job.id, 0, {"code": "away"}) for _ in range(2)] == [1, 2]


def test_webhooks_are_told_of_what_waits_and_what_was_decided(engine, store, spec, clock):
    webhooks = SqlWebhookStore(engine, clock)
    wanted = frozenset({EventType.OUTPUT_STAGED, EventType.OUTPUT_APPROVED, EventType.OUTPUT_REJECTED})
    hook = webhooks.create_webhook(NewWebhook("alice", "https://ci.example.org/", wanted))
    job = store.create_job(spec, Submission("alice"))
    store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)
    store.stage_output(job.id, 0, FILES)
    store.stage_output(job.id, 1, FILES)
    store.decide_output(job.id, 0, approve(reason="fine"))
    store.decide_output(job.id, 1, Decision(REJECTED, "reviewer", "no"))
    sent = sorted(webhooks.list_deliveries(hook.id), key=lambda delivery: delivery.sequence)
    assert [delivery.type for delivery in sent] == [
        "output.staged",
        "output.staged",
        "output.approved",
        "output.rejected",
    ]
    assert {delivery.data["lineage_sha256"] for delivery in sent} == {DIGEST}
    assert (sent[-1].data["by"], sent[-1].data["reason"]) == ("reviewer", "no")
