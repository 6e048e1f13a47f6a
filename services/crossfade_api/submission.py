"""Accept jobs, each once, in terms of the ports. Refuses early what headers and names already tell; no HTTP here."""

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog

from crossfade_api.dependencies import Adapters
from crossfade_core.errors import AlreadyUnderWay, StoreUnavailable
from crossfade_core.job import Job, JobId, JobState, Output
from crossfade_core.job_store import IdempotentRequest, Submission
from crossfade_core.keys import Caller
from crossfade_core.messages import PLAN
from crossfade_core.ports import StagedFile
from crossfade_core.spec import MergeSpec, body_digest
from crossfade_registries.acceptance import check_outputs
from crossfade_registries.layout import merge_digest, plan_spec

_OUTPUTS_AT_ONCE: Final = 8

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
    adapters.check_caller(caller, spec)
    sourced = plan_spec(spec, adapters.open_source, adapters.header_cache, adapters.trust)
    digest = merge_digest(spec, sourced)
    twin = standing_job(spec, digest, adapters)
    if twin is not None:
        return _reused(twin, request, adapters)
    probe = probe_id()
    check_outputs(adapters.open_sink(spec, probe), spec.output_names(probe), sourced.plan)
    try:
        job = adapters.store.create_job(spec, Submission(caller.name, digest, request))
    except AlreadyUnderWay as error:  # submitted twice at the same moment
        return _reused(adapters.store.get_job(JobId(str(error.details["job"]))), request, adapters)
    log.info("job.accepted", job_id=job.id, lambdas=len(spec.lambdas), read_bytes=sourced.plan.read_bytes)
    adapters.send(PLAN, job.id)
    return Accepted(job)


def standing_job(spec: MergeSpec, digest: str, adapters: Adapters) -> Job | None:
    """Return the job that makes what the spec would make, or has made it and its outputs stand; None where none does.

    Raises:
        SinkError: Its destination is away, or no longer configured.
        StoreUnavailable: The database is away.
    """
    twin = adapters.store.find_merge(digest) if spec.is_made_once else None
    return twin if twin is not None and _stands(twin, adapters) else None


def probe_id() -> JobId:
    """Return a job id to look for free names with, before the store gives the real one.

    A random one is as free wherever {job} stands in the template.
    """
    return JobId(uuid.uuid4().hex)


def _reused(job: Job, request: IdempotentRequest | None, adapters: Adapters) -> Accepted:
    if request is not None:
        adapters.store.answer_request(request, job.id)
    return Accepted(job, is_reused=True)


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
