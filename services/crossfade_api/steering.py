"""Retry and cancel jobs, decide about their outputs, in terms of the ports; no HTTP here."""

import uuid
from typing import Final

import structlog

from crossfade_api.dependencies import Adapters
from crossfade_core.approval import Decision
from crossfade_core.errors import IllegalTransition
from crossfade_core.job import Job, JobState, OutputState, Phase, state_on_cancel
from crossfade_core.keys import Caller
from crossfade_core.messages import PLAN, PUBLISH

_RETRY_LEASE_SECONDS: Final = 30.0

log = structlog.get_logger()


def retry_job(job: Job, caller: Caller, adapters: Adapters) -> Job:
    """Queue a job that failed again, with the units whose staged shards are kept.

    Raises:
        IllegalTransition: It has not failed, or what it left is being put away at this moment.
        AlreadyUnderWay: Another job makes the same by now.
        DestinationNotAllowed: The caller may not publish where it publishes.
        StoreUnavailable: The database is away.
    """
    adapters.check_caller(caller, job.spec)
    owner = f"retry-{uuid.uuid4().hex}"
    if not adapters.store.lease_job(job.id, owner, _RETRY_LEASE_SECONDS):
        raise IllegalTransition(
            f"a worker is putting away what job {job.id} left; ask again in some seconds", job=job.id
        )
    try:
        job = adapters.store.retry_job(job.id, caller.name)
    finally:
        adapters.store.release_job(job.id, owner)
    log.info("job.retried", job_id=job.id)
    adapters.send(PLAN, job.id)
    return job


def cancel_job(job: Job, caller: Caller, adapters: Adapters) -> Job:
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
            staged_until = adapters.clock.now() if is_staged else None
            moved = adapters.store.move_job(job.id, state, phase=phase, staged_until=staged_until, by=caller.name)
        except IllegalTransition:
            # A worker may have moved the job since it was read; nobody moves it all the time, so this ends.
            latest = adapters.store.get_job(job.id)
            if latest.state is job.state:
                raise
            job = latest
            continue
        log.info("job.cancelled", job_id=job.id, state=moved.state.value)
        if moved.state is JobState.CANCELLING or is_staged:
            adapters.send(PUBLISH, job.id)
        return moved
    return job


def decide_output(job: Job, position: int, decision: Decision, caller: Caller, adapters: Adapters) -> Job:
    """Note a decision about an output; one that was STAGED for it is published, or put away, by a worker.

    Raises:
        DestinationNotAllowed: The caller may not publish where the job publishes.
        OutputNotFound: The job has no such output.
        IllegalTransition: There is nothing to decide about.
        LineageDiffers: The decision is about another content.
        StoreUnavailable: The database is away.
    """
    adapters.check_caller(caller, job.spec)
    output = adapters.store.decide_output(job.id, position, decision)
    log.info("output.decided", job_id=job.id, position=position, approval=output.approval.value)
    job = adapters.store.get_job(job.id)
    if job.state is JobState.RUNNING and output.state is not OutputState.PUBLISHED:
        adapters.send(PUBLISH, job.id)
    return job
