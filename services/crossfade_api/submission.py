"""Accept a job and cancel one, in terms of the ports. Refuses early what headers and names already tell; no HTTP here.

The database is the truth and the queue only delivers: once a change is stored, a broker that is away is a warning, and
the sweeper sends the message again.
"""

import uuid

import structlog

from crossfade_api.dependencies import Adapters
from crossfade_core.errors import IllegalTransition, QueueUnavailable
from crossfade_core.job import Job, JobId, JobState, Phase, state_on_cancel
from crossfade_core.messages import PLAN, PUBLISH, TaskName
from crossfade_core.plan import MergePlan
from crossfade_core.spec import MergeSpec
from crossfade_registries.acceptance import check_outputs
from crossfade_registries.layout import plan_spec

log = structlog.get_logger()


def submit_job(spec: MergeSpec, adapters: Adapters) -> Job:
    """Plan from headers, look whether every output's name is free, store the job, send it off.

    Raises:
        SourceError, CheckpointError, PlanRefused: The sources cannot be read or do not pair.
        SinkError: An output cannot go where the spec says, or has no room on its way there.
        StoreUnavailable: The database is away; nothing was stored.
    """
    plan = plan_spec(spec, adapters.open_source).plan
    _check_outputs(spec, plan, adapters)
    job = adapters.store.create_job(spec)
    log.info("job.accepted", job_id=job.id, lambdas=len(spec.lambdas), read_bytes=plan.read_bytes)
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
        try:
            moved = adapters.store.move_job(job.id, state, phase=phase)
        except IllegalTransition:
            # A worker may have moved the job since it was read; states only go forward, so this ends.
            latest = adapters.store.get_job(job.id)
            if latest.state is job.state:
                raise
            job = latest
            continue
        log.info("job.cancelled", job_id=job.id, state=moved.state.value)
        if moved.state is JobState.CANCELLING:
            _send(PUBLISH, job.id, adapters)
        return moved
    return job


def _check_outputs(spec: MergeSpec, plan: MergePlan, adapters: Adapters) -> None:
    # The store gives the real id later; a random one is as free wherever {job} stands in the template.
    probe = JobId(uuid.uuid4().hex)
    check_outputs(adapters.open_sink(spec, probe), spec.output_names(probe), plan)


def _send(task: TaskName, job_id: JobId, adapters: Adapters) -> None:
    try:
        adapters.queue.send(task, job_id)
    except QueueUnavailable as error:
        log.warning("queue.unavailable", task=task, job_id=job_id, reason=error.message)
