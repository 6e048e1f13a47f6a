"""An output that waits for approval is seen by nobody, wherever it lies, and published by other processes as it was."""

import pytest

from crossfade_core.errors import StagedFileLost, StoreUnavailable
from crossfade_core.job import Approval
from tests.ports.publishing import FILES, IGNORED, NAME, PLANNED, Service, below
from tests.ports.service import digests, of_lambdas
from tests.registries.staging import facts, stage

KINDS = ["local", "s3", "swift", "hub", "xet"]
EVERY = pytest.mark.parametrize("kind", KINDS)
WAIT_SECONDS = 30 * 86_400.0

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.fixture
def guarded(new_place, deployed, kind):
    """A service whose destination requires approval."""
    return deployed(new_place("local"), new_place(kind), requires_approval=True)


def wait(deployment, lambdas):
    """Return a job whose outputs have waited for a month, in processes that began since."""
    job = deployment.run(lambdas=lambdas)
    assert (job.state, job.phase) == ("RUNNING", "approving")
    deployment.clock.advance(WAIT_SECONDS)
    deployment.sweep()
    assert deployment.drop_messages() == []
    deployment.restart()
    return job


@EVERY
def test_output_is_unseen_until_it_is_approved_and_then_published_as_it_was_staged(guarded, expected):
    job = wait(guarded, [0.0, 0.5])
    assert guarded.destination.visible() == {}
    guarded.decide(job, 1, Approval.APPROVED)
    guarded.deliver()
    assert guarded.states(job) == ("RUNNING", ["STAGED", "PUBLISHED"])
    assert guarded.merged_files() == of_lambdas(expected, 0.5)
    staged = guarded.store.list_outputs(job.id)[1].files
    published = guarded.destination.visible()
    assert digests(published) == {f"tuned-0.5/{file}": about["sha256"] for file, about in staged.items()}
    guarded.decide(job, 0, Approval.REJECTED)
    guarded.deliver()
    assert guarded.states(job) == ("PARTIALLY_SUCCEEDED", ["FAILED", "PUBLISHED"])
    assert guarded.destination.visible() == published
    assert guarded.destination.staged() == set()


@EVERY
def test_publisher_that_dies_after_the_commit_is_followed_by_one_that_finds_it(guarded, expected):
    job = wait(guarded, [0.5])
    guarded.decide(job, 0, Approval.APPROVED)
    guarded.store.away.add("publish_output")
    with pytest.raises(StoreUnavailable):
        guarded.publish(job.id)
    guarded.store.away.clear()
    shown = guarded.destination.visible()
    assert shown != {}
    guarded.restart()
    guarded.publish(job.id)
    assert guarded.states(job) == ("SUCCEEDED", ["PUBLISHED"])
    assert guarded.merged_files() == of_lambdas(expected, 0.5)
    assert guarded.destination.visible() == shown
    assert guarded.destination.staged() == set()


@EVERY
def test_job_that_is_cancelled_while_it_waits_leaves_nothing(guarded):
    job = wait(guarded, [0.5])
    guarded.cancel(job.id)
    guarded.deliver()
    assert guarded.states(job) == ("CANCELLED", ["CANCELLED"])
    assert guarded.destination.visible() == {}
    assert guarded.destination.staged() == set()


@EVERY
def test_what_is_handed_over_makes_up_with_what_is_kept_the_whole_output(new_place, scratch, kind):
    service = Service(new_place(kind), scratch)
    first = service.sink()
    files = {**FILES, "tokenizer.model": b"small, and kept in large storage by a Hub all the same"}
    stage(first, NAME, files)
    held = first.hand_over(NAME)
    assert first.hand_over(NAME) == {}
    assert {file: files[file] for file in held} == held
    second = service.restarted().sink()
    stage(second, NAME, held)
    second.commit(NAME, facts(files))
    assert service.place.visible() == below(NAME, files)


@pytest.mark.parametrize("kind", ["local", "s3", "hub"])
def test_staged_file_that_is_gone_is_named_and_nothing_is_published(new_place, scratch, kind):
    service = Service(new_place(kind), scratch)
    sink = service.sink()
    stage(sink, NAME, {file: content for file, content in FILES.items() if file != "config.json"})
    with pytest.raises(StagedFileLost, match=r"config\.json"):
        sink.commit(NAME, PLANNED)
    assert service.place.visible() == {}
