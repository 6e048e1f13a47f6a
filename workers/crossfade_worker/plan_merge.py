"""Plan a job: read both parents' headers, pin their files, store one unit per output shard, send for each."""

import contextlib

import structlog

from crossfade_core.errors import (
    CheckpointError,
    IllegalTransition,
    PlanRefused,
    SinkError,
    SourceError,
)
from crossfade_core.job import Job, JobId, JobState, Phase, UnitState
from crossfade_core.job_store import JobStore
from crossfade_core.messages import PUBLISH, UNIT
from crossfade_core.ports import OpenSink, OpenSource, TaskQueue
from crossfade_registries.acceptance import check_outputs
from crossfade_registries.layout import SourcedPlan, merge_digest, plan_spec
from crossfade_registries.source_signatures import SourceTrust
from crossfade_worker.lease import control_lease
from crossfade_worker.plan_record import new_units, plan_summary

log = structlog.get_logger()


class PlanMerge:
    """Handles `merge.plan`. A doubled message changes nothing: a plan once stored is kept.

    Args:
        store: The truth.
        queue: Where units are sent.
        registries: For the headers, and to see early whether the outputs' names are free.
        owner: Name of this process, for the job's control lease.
        trust: What is asked of the sources' signatures.
    """

    def __init__(
        self,
        store: JobStore,
        queue: TaskQueue,
        registries: tuple[OpenSource, OpenSink],
        owner: str,
        trust: SourceTrust,
    ) -> None:
        self._store, self._queue, self._owner, self._trust = store, queue, owner, trust
        self._open_source, self._open_sink = registries

    def __call__(self, job_id: JobId) -> None:
        """Plan the job unless it has ended or has a plan; send the units that wait, either way.

        Raises:
            StoreUnavailable: The database is away.
            QueueUnavailable: The broker is away; the sweep will send again.
        """
        with control_lease(self._store, job_id, self._owner) as is_held:
            if not is_held:
                return
            with contextlib.suppress(IllegalTransition):  # cancelled meanwhile: what it is now is looked at below
                self._plan(self._store.get_job(job_id))
        state = self._store.get_job(job_id).state
        if state is JobState.CANCELLING:  # that message may have come while we held the lease
            self._queue.send(PUBLISH, job_id)
        elif state is JobState.RUNNING:
            units = self._store.list_units(job_id)
            for unit in units:
                if unit.state is UnitState.PENDING:
                    self._queue.send(UNIT, unit.id)
            if all(unit.state is UnitState.DONE for unit in units):  # a retry of what failed while it was published
                self._queue.send(PUBLISH, job_id)

    def _plan(self, job: Job) -> None:
        if job.state is JobState.QUEUED:
            phase = Phase.PLANNING if job.plan_summary is None else Phase.MERGING
            job = self._store.move_job(job.id, JobState.RUNNING, phase=phase)
        if job.state is not JobState.RUNNING or job.plan_summary is not None:
            return
        try:
            sourced = self._check(job)
        except (SourceError, CheckpointError, PlanRefused, SinkError) as error:
            log.warning("job.refused", code=error.code, message=error.message)
            self._store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=error.as_record())
            return
        self._store.save_plan(
            job.id,
            plan_summary(sourced),
            new_units(sourced, len(job.spec.lambdas)),
            merge_digest=merge_digest(job.spec, sourced),
        )
        log.info("job.planned", units=len(sourced.plan.shards), read_bytes=sourced.plan.read_bytes)

    def _check(self, job: Job) -> SourcedPlan:
        sourced = plan_spec(job.spec, self._open_source, trust=self._trust)
        check_outputs(self._open_sink(job.spec, job.id), job.spec.output_names(job.id), sourced.plan)
        return sourced
