"""Accept, retry and cancel jobs, in terms of the ports. Refuses early what headers and names tell; no HTTP here.

The database is the truth and the queue only delivers: once a change is stored, a broker that is away is a warning, and
the sweeper sends the message again.
"""

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog

from crossfade_api.dependencies import Adapters
from crossfade_core.errors import AlreadyUnderWay, IllegalTransition, QueueUnavailable, StoreUnavailable
from crossfade_core.job import Job, JobId, JobState, Output, Phase, state_on_cancel
from crossfade_core.keys import Caller
from crossfade_core.messages import PLAN, PUBLISH, TaskName
from crossfade_core.plan import MergePlan
from crossfade_core.ports import IdempotentRequest, StagedFile, Submission
from crossfade_core.spec import MergeSpec, body_digest
from crossfade_registries.acceptance import check_outputs
from crossfade_registries.layout import merge_digest, plan_spec

_OUTPUTS_AT_ONCE: Final = 8
_RETRY_LEASE_SECONDS: Final = 30.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Accepted:
    """The job that answers a submission.

    Attributes:
        job: The job.
        is_reused: An earlier one that makes, or has made, the same.
        is_replayed: The one that answered the same request before.
    """

    job: Job
    is_reused: bool = False
    is_replayed: bool = False


def submit_once(spec: MergeSpec, caller: Caller, key: str | None, adapters: Adapters) -> Accepted:
    """Submit a job unless the request with this idempotency key was answered before.

    A request that is refused is forgotten: sent again, it is looked at again.

    Raises:
        IdempotencyMismatch: The key came with another spec.
        RequestInFlight: The same request is being answered at this moment.
        CrossfadeError: As for `submit_job`.
    """
    if key is None:
        return submit_job(spec, caller, adapters)
    request = IdempotentRequest(caller.name, key, body_digest(spec), attempt=uuid.uuid4().hex)
    answered = adapters.store.begin_request(request)
    if answered is not None:
        return Accepted(adapters.store.get_job(answered), is_replayed=True)
    try:
        return submit_job(spec, caller, adapters, request)
    except BaseException:
        with contextlib.suppress(StoreUnavailable):  # then it is taken for given up after some minutes
            adapters.store.drop_request(request)
        raise


def submit_job(
    spec: MergeSpec, caller: Caller, adapters: Adapters, request: IdempotentRequest | None = None
) -> Accepted:
    """Plan from headers, look whether every output's name is free, store the job, send it off.

    Where a job makes the same of the same files, or has, and its outputs still stand, that one is the answer.

    Raises:
        SourceError, CheckpointError, PlanRefused: The sources cannot be read or do not pair.
        SinkError: An output cannot go where the spec says, or has no room on its way there; or the caller may not
            publish there.
        QueueLimitReached: The caller has as many unfinished jobs as its key allows.
        StoreUnavailable: The database is away; nothing was stored.
    """
    _check_caller(spec, caller, adapters)
    sourced = plan_spec(spec, adapters.open_source)
    digest = merge_digest(spec, sourced)
    twin = adapters.store.find_merge(digest) if spec.is_made_once else None
    if twin is not None and _stands(twin, adapters):
        return _reused(twin, request, adapters)
    _check_outputs(spec, sourced.plan, adapters)
    is_fresh = not spec.is_made_once
    submission = Submission(caller.name, digest, is_fresh=is_fresh, request=request)
    try:
        job = adapters.store.create_job(spec, submission)
    except AlreadyUnderWay as error:  # submitted twice at the same moment
        return _reused(adapters.store.get_job(JobId(str(error.details["job"]))), request, adapters)
    log.info("job.accepted", job_id=job.id, lambdas=len(spec.lambdas), read_bytes=sourced.plan.read_bytes)
    _send(PLAN, job.id, adapters)
    return Accepted(job)


def retry_job(job: Job, caller: Caller, adapters: Adapters) -> Job:
    """Queue a job that failed again, with the units whose staged shards are kept.

    Raises:
        IllegalTransition: It has not failed, or what it left is being put away at this moment.
        AlreadyUnderWay: Another job makes the same by now.
        DestinationNotAllowed: The caller may not publish where it publishes.
        StoreUnavailable: The database is away.
    """
    _check_caller(job.spec, caller, adapters)
    owner = f"retry-{uuid.uuid4().hex}"
    if not adapters.store.lease_job(job.id, owner, _RETRY_LEASE_SECONDS):
        raise IllegalTransition(
            f"a worker is putting away what job {job.id} left; ask again in some seconds", job=job.id
        )
    try:
        job = adapters.store.retry_job(job.id)
    finally:
        adapters.store.release_job(job.id, owner)
    log.info("job.retried", job_id=job.id)
    _send(PLAN, job.id, adapters)
    return job


def cancel_job(job: Job, adapters: Adapters) -> Job:
    """Cancel a job: at once while it is queued, else through CANCELLING, which the publish task settles.

    Asking again while it is CANCELLING changes nothing.

    Raises:
        IllegalTransition: The job has ended.
        StoreUnavailable: The database is away.
    """
    while job.state is not JobState.CANCELLING:
        state = state_on_cancel(job.state)
        phase = Phase.CLEANING if state is JobState.CANCELLING else Phase.DONE
        is_staged = job.plan_summary is not None  # also while QUEUED: a retry
        try:
            moved = adapters.store.move_job(
                job.id, state, phase=phase, staged_until=adapters.clock.now() if is_staged else None
            )
        except IllegalTransition:
            # A worker may have moved the job since it was read; nobody moves it all the time, so this ends.
            latest = adapters.store.get_job(job.id)
            if latest.state is job.state:
                raise
            job = latest
            continue
        log.info("job.cancelled", job_id=job.id, state=moved.state.value)
        if moved.state is JobState.CANCELLING or is_staged:
            _send(PUBLISH, job.id, adapters)
        return moved
    return job


def _reused(job: Job, request: IdempotentRequest | None, adapters: Adapters) -> Accepted:
    if request is not None:
        adapters.store.answer_request(request, job.id)
    return Accepted(job, is_reused=True)


def _check_caller(spec: MergeSpec, caller: Caller, adapters: Adapters) -> None:
    if not caller.is_admin:
        adapters.check_user(spec.destination, caller.name)


def _stands(job: Job, adapters: Adapters) -> bool:
    """Tell whether a job that makes the same is under way, or its outputs are all where it published them."""
    if job.state is not JobState.SUCCEEDED:
        return True
    sink = adapters.open_sink(job.spec, job.id)
    outputs = adapters.store.list_outputs(job.id)
    with ThreadPoolExecutor(_OUTPUTS_AT_ONCE) as pool:
        return all(pool.map(lambda output: sink.holds(output.name, _staged_files(output)), outputs))


def _staged_files(output: Output) -> dict[str, StagedFile]:
    return {name: StagedFile(**facts) for name, facts in output.files.items()}


def _check_outputs(spec: MergeSpec, plan: MergePlan, adapters: Adapters) -> None:
    # The store gives the real id later; a random one is as free wherever {job} stands in the template.
    probe = JobId(uuid.uuid4().hex)
    check_outputs(adapters.open_sink(spec, probe), spec.output_names(probe), plan)


def _send(task: TaskName, job_id: JobId, adapters: Adapters) -> None:
    try:
        adapters.queue.send(task, job_id)
    except QueueUnavailable as error:
        log.warning("queue.unavailable", task=task, job_id=job_id, reason=error.message)
