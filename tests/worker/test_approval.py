"""Where a destination requires approval, an output is staged whole, waits unseen, and is published as it was staged."""

import pytest

from crossfade_core.approval import lineage_digest
from crossfade_core.errors import IllegalTransition, LineageDiffers, SourceUnavailable, StoreUnavailable
from crossfade_core.job import Approval, JobState, Phase
from crossfade_core.messages import PLAN, PUBLISH
from crossfade_registries.local.sink import STAGING
from crossfade_worker.lease import CONTROL_LEASE_SECONDS
from crossfade_worker.sweep import IDLE_SECONDS

APPROVED, REJECTED = Approval.APPROVED, Approval.REJECTED
WAITING = ("RUNNING", ["STAGED"] * 3)


@pytest.fixture
def guarded(deployment):
    """A service whose destination requires approval."""
    deployment.require_approval()
    return deployment


@pytest.fixture
def waiting(guarded):
    """The same with a job that waits."""
    job = guarded.submit()
    guarded.deliver()
    assert guarded.states(job) == WAITING
    return guarded, job


def outputs(deployment, job):
    return deployment.store.list_outputs(job.id)


def events(deployment, job):
    return [event.type for event in deployment.store.list_events(job.id)]


def test_an_output_is_whole_and_unseen_while_it_waits(waiting):
    deployment, job = waiting
    assert deployment.visible() == []
    assert deployment.job(job).phase is Phase.APPROVING
    for output in outputs(deployment, job):
        folder = deployment.outputs / STAGING / job.id / output.name
        assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
            name: about["size_bytes"] for name, about in output.files.items()
        }
        assert "lineage.json" in output.files
        assert output.statistics["realised"] is not None
        assert output.uri is None
    assert events(deployment, job).count("output.staged") == 3


def test_what_is_approved_is_published_as_it_was_staged_and_the_rest_goes_on_waiting(waiting):
    deployment, job = waiting
    before = outputs(deployment, job)
    deployment.models.rename(deployment.models.with_name("gone"))  # nothing is read or made again
    deployment.decide(job, 1, APPROVED)
    deployment.deliver()
    assert deployment.states(job) == ("RUNNING", ["STAGED", "PUBLISHED", "STAGED"])
    assert deployment.visible() == ["instruct-pad-0.5"]
    assert deployment.job(job).phase is Phase.APPROVING
    for position in (0, 2):
        deployment.decide(job, position, APPROVED)
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    for staged, published in zip(before, outputs(deployment, job), strict=True):
        assert published.files == staged.files == deployment.digests(published)
        assert (published.approval, published.decided_by, published.approval_reason) == (
            APPROVED,
            "reviewer",
            "because",
        )
    assert not deployment.is_staging()


def test_rejected_output_is_never_seen_and_fails_with_the_reason(waiting):
    deployment, job = waiting
    for position, approval in enumerate((APPROVED, REJECTED, APPROVED)):
        deployment.decide(job, position, approval, "worse than its base")
    deployment.deliver()
    assert deployment.states(job) == ("PARTIALLY_SUCCEEDED", ["PUBLISHED", "FAILED", "PUBLISHED"])
    assert deployment.visible() == ["instruct-pad-0.0", "instruct-pad-1.0"]
    error = outputs(deployment, job)[1].error
    assert (error["code"], error["blame"], error["retryable"]) == ("output_rejected", "user", False)
    assert "rejected by reviewer: worse than its base" in error["message"]
    assert not deployment.is_staging()


def test_job_of_which_everything_is_rejected_has_failed(waiting):
    deployment, job = waiting
    for position in range(3):
        deployment.decide(job, position, REJECTED)
    deployment.deliver()
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    assert deployment.visible() == []
    assert not deployment.is_staging()


@pytest.mark.parametrize("keep_seconds", [0.0, 3600.0])
def test_retry_stages_what_was_rejected_again_to_be_decided_anew(guarded, keep_seconds):
    guarded.keep_failed_seconds = keep_seconds
    job = guarded.submit()
    guarded.deliver()
    guarded.decide(job, 0, APPROVED)
    guarded.decide(job, 1, REJECTED)
    guarded.decide(job, 2, REJECTED)
    guarded.deliver()
    assert guarded.job(job).state is JobState.PARTIALLY_SUCCEEDED
    guarded.store.retry_job(job.id)
    guarded.queue.send(PLAN, job.id)
    guarded.deliver()
    assert guarded.states(job) == ("RUNNING", ["PUBLISHED", "STAGED", "STAGED"])
    decided = [(output.approval, output.approval_reason, output.decided_by) for output in outputs(guarded, job)]
    assert decided == [(APPROVED, "because", "reviewer"), *[(Approval.PENDING, None, None)] * 2]
    for position in (1, 2):
        guarded.decide(job, position, APPROVED)
    guarded.deliver()
    assert guarded.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    assert all(output.files == guarded.digests(output) for output in outputs(guarded, job))


def test_waiting_job_is_left_alone_by_the_sweep_for_as_long_as_it_waits(waiting):
    deployment, job = waiting
    told = events(deployment, job)
    for _ in range(5):
        deployment.clock.advance(86_400)
        deployment.sweep()
        assert deployment.drop_messages() == []
    deployment.publish(job.id)  # a message that was doubled
    assert (deployment.states(job), events(deployment, job)) == (WAITING, told)
    deployment.decide(job, 0, APPROVED)
    deployment.deliver()
    assert deployment.visible() == ["instruct-pad-0.0"]


def test_decision_whose_message_is_lost_is_carried_out_by_the_sweep(waiting):
    deployment, job = waiting
    deployment.decide(job, 0, APPROVED)
    assert deployment.drop_messages() == [(PUBLISH, job.id)]
    deployment.clock.advance(IDLE_SECONDS + 1)
    deployment.sweep()
    deployment.deliver()
    assert deployment.states(job) == ("RUNNING", ["PUBLISHED", "STAGED", "STAGED"])


def test_last_rejection_whose_message_is_lost_ends_the_job_all_the_same(waiting):
    deployment, job = waiting
    for position in range(3):
        deployment.decide(job, position, REJECTED)
    deployment.drop_messages()
    deployment.clock.advance(IDLE_SECONDS + 1)
    deployment.sweep()
    deployment.deliver()
    assert deployment.job(job).state is JobState.FAILED


def test_publisher_that_dies_between_commit_and_store_is_completed_by_the_next(waiting):
    deployment, job = waiting
    deployment.decide(job, 0, APPROVED)
    deployment.store.away = {"publish_output"}
    with pytest.raises(StoreUnavailable):
        deployment.publish(job.id)
    assert deployment.visible() == ["instruct-pad-0.0"]
    assert deployment.states(job) == WAITING
    deployment.store.away = set()
    deployment.publish(job.id, owner="control-2")
    assert deployment.states(job) == ("RUNNING", ["PUBLISHED", "STAGED", "STAGED"])


def test_publisher_that_was_killed_while_staging_is_succeeded_when_its_lease_ends(guarded):
    job = guarded.merged()

    def die(_):
        raise SystemExit(1)

    guarded.on_next_read(die, "tokenizer.json")
    with pytest.raises(SystemExit):
        guarded.publish(job.id)
    assert guarded.states(job) == ("RUNNING", ["PENDING"] * 3)
    guarded.clock.advance(CONTROL_LEASE_SECONDS + 1)
    guarded.sweep()
    guarded.deliver()
    assert guarded.states(job) == WAITING


def test_output_is_published_though_another_can_not_be_staged_yet(guarded):
    """One is approved while the source of the others' small files is away."""
    job = guarded.merged()
    reads = iter(range(100))

    def fail_from_the_second_output_on(file):
        if file == "tokenizer.json" and next(reads) > 1:  # copied from one parent, and the other's was looked at
            raise SourceUnavailable("the registry is away")

    guarded.on_every_read(fail_from_the_second_output_on)
    guarded.publish(job.id)
    assert guarded.states(job) == ("RUNNING", ["STAGED", "PENDING", "PENDING"])
    guarded.decide(job, 0, APPROVED)
    guarded.deliver()
    assert guarded.states(job) == ("RUNNING", ["PUBLISHED", "PENDING", "PENDING"])
    guarded.on_every_read(lambda _: None)
    guarded.deliver_through_waits()
    assert guarded.states(job) == ("RUNNING", ["PUBLISHED", "STAGED", "STAGED"])


def test_output_whose_staged_files_were_lost_fails_by_name_and_a_retry_makes_it_again(waiting):
    deployment, job = waiting
    deployment.keep_failed_seconds = 3600.0
    for path in (deployment.outputs / STAGING / job.id / "instruct-pad-0.0").iterdir():
        path.unlink()
    deployment.decide(job, 0, APPROVED)
    for position in (1, 2):
        deployment.decide(job, position, REJECTED)
    deployment.deliver()
    assert deployment.states(job) == ("FAILED", ["FAILED"] * 3)
    assert outputs(deployment, job)[0].error["code"] == "staged_file_lost"
    deployment.store.retry_job(job.id)
    deployment.queue.send(PLAN, job.id)
    deployment.deliver()
    assert deployment.states(job) == WAITING


def test_cancel_of_a_waiting_job_puts_away_what_it_staged(waiting):
    deployment, job = waiting
    deployment.decide(job, 0, APPROVED)
    deployment.deliver()
    deployment.cancel(job.id)
    with pytest.raises(IllegalTransition, match="is STAGED and its job CANCELLING"):
        deployment.decide(job, 1, APPROVED)
    deployment.deliver()
    assert deployment.states(job) == ("CANCELLED", ["PUBLISHED", "CANCELLED", "CANCELLED"])
    assert not deployment.is_staging()


def test_deadline_of_a_waiting_job_comes_as_of_any_other(guarded):
    job = guarded.submit(deadline_seconds=3600)
    guarded.deliver()
    guarded.clock.advance(3601)
    guarded.sweep()
    guarded.deliver()
    assert guarded.states(job) == ("FAILED", ["FAILED"] * 3)
    assert guarded.job(job).error["code"] == "deadline_exceeded"
    assert guarded.visible() == []


def test_what_was_approved_in_time_is_published_though_the_deadline_comes_first(guarded):
    job = guarded.submit(deadline_seconds=3600)
    guarded.deliver()
    guarded.decide(job, 1, APPROVED)
    guarded.drop_messages()
    guarded.clock.advance(3601)
    guarded.sweep()
    assert guarded.job(job).state is JobState.RUNNING
    guarded.publish(job.id)
    assert guarded.visible() == ["instruct-pad-0.5"]
    guarded.sweep()
    guarded.deliver()
    assert guarded.states(job) == ("FAILED", ["FAILED", "PUBLISHED", "FAILED"])


def test_what_changed_while_it_waited_is_not_published(waiting):
    deployment, job = waiting
    (shard, *_) = sorted((deployment.outputs / STAGING / job.id / "instruct-pad-0.5").glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    deployment.decide(job, 1, APPROVED)
    deployment.deliver()
    output = outputs(deployment, job)[1]
    assert (output.state, output.error["code"]) == ("FAILED", "staged_file_corrupted")
    assert shard.name in output.error["message"]
    assert deployment.visible() == []


def test_an_approved_output_is_in_the_lineage_graph_with_what_it_was_made_of(waiting):
    deployment, job = waiting
    deployment.decide(job, 1, APPROVED)
    deployment.deliver()
    graph = deployment.lineage.of_uri(outputs(deployment, job)[1].uri)
    assert {edge.role for edge in graph.edges} == {"base", "instruct"}


def test_what_was_published_before_approval_was_asked_for_is_not_said_to_wait(deployment):
    job = deployment.cut_off_while_publishing(lambdas=[0.5])
    deployment.require_approval()
    deployment.publish(job.id)
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"])


def test_decision_about_another_content_is_refused(waiting):
    deployment, job = waiting
    with pytest.raises(LineageDiffers, match="look at it again"):
        deployment.decide(job, 0, APPROVED, lineage_sha256="0" * 64)
    (first, *_) = outputs(deployment, job)
    assert first.approval is Approval.PENDING
    deployment.decide(job, 0, APPROVED, lineage_sha256=lineage_digest(first))
    assert outputs(deployment, job)[0].approval is APPROVED


def test_other_destinations_publish_at_once_and_are_decided_about_afterwards(deployment):
    job = deployment.submit()
    with pytest.raises(IllegalTransition, match="is not made yet"):
        deployment.decide(job, 0, APPROVED)
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    visible = deployment.visible()
    deployment.decide(job, 0, APPROVED)
    deployment.decide(job, 0, REJECTED, "a reviewer has found worse")
    deployment.deliver()
    assert outputs(deployment, job)[0].approval is REJECTED
    assert (deployment.states(job), deployment.visible()) == (("SUCCEEDED", ["PUBLISHED"] * 3), visible)
