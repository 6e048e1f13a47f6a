"""End a job: publish every output once all units are done, or clean up after a cancel or a failure.

Where the destination requires approval, an output is staged whole and then left alone until somebody decides.
"""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog

from crossfade_core.approval import has_to_be_worked_on, waits_only
from crossfade_core.errors import (
    CheckpointError,
    CrossfadeError,
    IllegalTransition,
    SigningFailed,
    SinkError,
    SourceError,
    StagedFileCorrupted,
)
from crossfade_core.job import Job, JobId, JobState, Output, OutputState, Phase, Unit, UnitState
from crossfade_core.job_store import JobStore
from crossfade_core.ports import OpenSink, OpenSource, Sink, Source
from crossfade_core.spec import Role
from crossfade_registries.layout import open_sources
from crossfade_worker.approved import commit_approved, keep_staged
from crossfade_worker.documents import Maker
from crossfade_worker.keeping import Keeping
from crossfade_worker.lease import CONTROL_LEASE_SECONDS, control_lease
from crossfade_worker.output_files import stage_output_files
from crossfade_worker.plan_record import pinned_sources
from crossfade_worker.sweep_facts import Origin, SweepFacts, sweep_facts

MAX_DELAYS: Final = 5
"""So often may publishing an output meet an error that another attempt may not; then the output fails."""

log = structlog.get_logger()


class Publish:
    """Handles `merge.publish`: whatever the job's state, does what is left to do, and nothing twice.

    Args:
        store: The truth.
        registries: The companions copied from a parent come from there, and outputs are staged there.
        owner: Name of this process, for the job's control lease.
        keeping: For how long what a failed job has staged is kept.
        maker: Who vouches for what is published.
    """

    def __init__(
        self,
        store: JobStore,
        registries: tuple[OpenSource, OpenSink],
        owner: str,
        *,
        keeping: Keeping,
        maker: Maker,
    ) -> None:
        self._store, self._owner, self._keeping, self._maker = store, owner, keeping, maker
        self._open_source, self._open_sink = registries

    def __call__(self, job_id: JobId) -> None:
        """Settle the job if its units allow.

        Raises:
            StoreUnavailable: The database is away; the sweep will send again.
        """
        with control_lease(self._store, job_id, self._owner) as is_held:
            if not is_held:
                return
            job = self._store.get_job(job_id)
            if job.state is JobState.RUNNING:
                self._advance(job)
            elif job.state is not JobState.QUEUED:
                self._clean(job)

    def _advance(self, job: Job) -> None:
        if waits_only(self._store.list_outputs(job.id)):
            self._store.set_phase(job.id, Phase.APPROVING)
            return
        units = list(self._store.list_units(job.id))
        if units and all(unit.state is UnitState.DONE for unit in units):
            self._publish(job, units)

    def _clean(self, job: Job) -> None:
        """Remove what was staged, unless it is kept for a retry.

        A unit still under way writes into nothing, and sends this again when it stops.
        """
        if not self._keeping.is_over(job.staged_until):
            return
        is_gone = self._discard(job)
        if is_gone and job.staged_until is not None:
            self._store.forget_staged(job.id)
        if job.state is JobState.CANCELLING and not self._store.live_leases(job.id):
            staged_until = None if is_gone else self._keeping.until()
            self._store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE, staged_until=staged_until)
            log.info("job.cancelled")

    def _discard(self, job: Job) -> bool:
        """Remove what was staged; False where the sweep should come again."""
        try:
            self._open_sink(job.spec, job.id).discard()
        except SinkError as error:  # a destination that is gone must not keep the job from ending
            log.warning("staging.left", code=error.code, message=error.message)
            return not error.retryable
        return True

    def _publish(self, job: Job, units: list[Unit]) -> None:
        self._store.set_phase(job.id, Phase.PUBLISHING)
        try:
            sink = self._open_sink(job.spec, job.id)
        except SinkError as error:
            for output in self._to_do(job):
                self._give_up(output, error)
        else:
            self._commit_approved(job, sink)  # first: neither their sources nor the others are needed for it
            if self._pending(job):
                self._publish_pending(job, units, sink)
                self._commit_approved(job, sink)  # what was approved meanwhile
        if self._is_held(job):
            self._settle(job)

    def _commit_approved(self, job: Job, sink: Sink) -> None:
        for output in self._to_do(job):
            if output.state is not OutputState.STAGED:
                continue
            if not self._may_go_on(job):
                return
            try:
                uri = commit_approved(self._store, sink, output)
            except SinkError as error:
                self._give_up(output, error)
            else:
                self._store.publish_output(
                    output.job_id, output.position, uri, output.files, statistics=output.statistics
                )
                log.info("output.published", name=output.name, uri=uri)

    def _publish_pending(self, job: Job, units: list[Unit], sink: Sink) -> None:
        origin = Origin(job.spec, job.spec_digest, job.id, job.created_at.isoformat())
        facts = sweep_facts(origin, job.plan_summary or {}, [unit.result or {} for unit in units])
        with contextlib.ExitStack() as opened:
            try:
                sources = opened.enter_context(open_sources(pinned_sources(job), self._open_source))
            except SourceError as error:
                for output in self._pending(job):
                    self._give_up(output, error)
                return
            for output in self._pending(job):
                if not self._may_go_on(job):
                    return
                shards = shard_facts(units, output.position)
                self._publish_one(sink, facts, output, sources=sources, shards=shards)

    def _publish_one(
        self,
        sink: Sink,
        facts: SweepFacts,
        output: Output,
        *,
        sources: Mapping[Role, Source],
        shards: Mapping[str, Mapping[str, Any]],
    ) -> None:
        try:
            maker = self._maker.remembering(self._store, output)
            staged = stage_output_files(sink, facts, output.position, sources=sources, shards=shards, maker=maker)
            if not self._is_running(output.job_id):  # cancelled while the last files were staged
                return
            if sink.requires_approval and not staged.is_published(sink):
                keep_staged(self._store, sink, output, staged)
                return
            uri = staged.commit(sink)
        except (SourceError, CheckpointError, SinkError, SigningFailed) as error:
            self._give_up(output, error)
        else:
            self._store.publish_output(
                output.job_id, output.position, uri, staged.files, statistics=staged.statistics, inputs=staged.inputs
            )
            log.info("output.published", name=output.name, uri=uri)

    def _give_up(self, output: Output, error: CrossfadeError) -> None:
        """Let the sweep try again where that may help, else fail the output."""
        log.warning("output.failed", name=output.name, code=error.code, message=error.message)
        record = error.as_record()
        is_passing = error.retryable and not isinstance(error, StagedFileCorrupted)  # the file is gone with it
        if not is_passing or self._store.delay_output(output.job_id, output.position, record) >= MAX_DELAYS:
            self._store.fail_output(output.job_id, output.position, record)

    def _settle(self, job: Job) -> None:
        if not self._is_running(job.id):  # cancelled, or overdue
            self._clean(self._store.get_job(job.id))
            return
        outputs = self._store.list_outputs(job.id)
        if waits_only(outputs):
            self._store.set_phase(job.id, Phase.APPROVING)
        if any(output.state in (OutputState.PENDING, OutputState.STAGED) for output in outputs):
            return  # what was delayed; the sweep sends again
        failed = [output for output in outputs if output.state is OutputState.FAILED]
        state = JobState.SUCCEEDED
        if failed:
            state = JobState.FAILED if len(failed) == len(outputs) else JobState.PARTIALLY_SUCCEEDED
        self._end(job, state, [output.error for output in failed if output.error])

    def _is_running(self, job_id: JobId) -> bool:
        return self._store.get_job(job_id).state is JobState.RUNNING

    def _is_held(self, job: Job) -> bool:
        """Tell whether the job is still this process's: one that is slow may have been overtaken."""
        return self._store.lease_job(job.id, self._owner, CONTROL_LEASE_SECONDS)

    def _may_go_on(self, job: Job) -> bool:
        return self._is_held(job) and self._is_running(job.id)

    def _to_do(self, job: Job) -> list[Output]:
        return [output for output in self._store.list_outputs(job.id) if has_to_be_worked_on(output)]

    def _pending(self, job: Job) -> list[Output]:
        return [output for output in self._to_do(job) if output.state is OutputState.PENDING]

    def _end(self, job: Job, state: JobState, errors: Sequence[dict[str, Any]]) -> None:
        staged_until: datetime | None = self._keeping.until(*errors)
        if self._keeping.is_over(staged_until) and self._discard(job):
            staged_until = None
        try:
            error = errors[0] if errors else None
            self._store.move_job(job.id, state, phase=Phase.DONE, error=error, staged_until=staged_until)
            log.info("job.ended", state=state)
        except IllegalTransition:  # cancelled meanwhile
            self._clean(self._store.get_job(job.id))


def shard_facts(units: list[Unit], position: int) -> dict[str, dict[str, Any]]:
    """Return size and digest of every shard of the output at `position` of the sweep."""
    facts = {}
    for unit in units:
        digests = (unit.result or {})["outputs"]
        facts[unit.shard["file"]] = {"size_bytes": unit.bytes_total // len(digests), "sha256": digests[position]}
    return facts
