"""Run one unit: claim its lease, stream its shard for every λ, store the digests. The only use case with tensors."""

import contextlib
from dataclasses import dataclass
from typing import Any, Final

import structlog

from crossfade_core.errors import (
    AttemptsExhausted,
    CrossfadeError,
    IllegalTransition,
    LeaseLost,
    StoreUnavailable,
    UnitCrashed,
)
from crossfade_core.job import Job, JobState, Phase, Unit, UnitId
from crossfade_core.messages import PUBLISH, UNIT
from crossfade_core.plan import ShardPlan
from crossfade_core.ports import Clock, JobStore, OpenSink, OpenSource, TaskQueue
from crossfade_engine.merge_shard import Parents, Resources
from crossfade_registries.layout import open_sources
from crossfade_worker.lease import UnitLease
from crossfade_worker.plan_record import pinned_files, pinned_sources
from crossfade_worker.stream_shard import Order, stream_shard

MAX_ATTEMPTS: Final = 5
"""A unit claimed more often than this kills its workers; its job fails (the fence counts claims)."""

log = structlog.get_logger()


@dataclass(frozen=True)
class UnitSettings:
    """Who this process is and how it works: lease owner, lease length, what to compute with."""

    owner: str
    lease_seconds: float
    resources: Resources


class RunUnit:
    """Handles `merge.unit`. A doubled or late message finds the unit leased or done and does nothing."""

    def __init__(
        self,
        store: JobStore,
        queue: TaskQueue,
        clock: Clock,
        registries: tuple[OpenSource, OpenSink],
        settings: UnitSettings,
    ) -> None:
        self._store, self._queue, self._clock = store, queue, clock
        self._open_source, self._open_sink = registries
        self._settings = settings

    def __call__(self, unit_id: UnitId) -> None:
        """Claim the unit and run it.

        Raises:
            StoreUnavailable: The database is away; the lease runs out and the sweep sends the unit again.
            QueueUnavailable: The broker is away; the sweep sends what is missing.
        """
        unit = self._store.claim_unit(unit_id, self._settings.owner, self._settings.lease_seconds)
        if unit is None:
            return
        job = self._store.get_job(unit.job_id)
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            self._attempt(job, unit)

    def _attempt(self, job: Job, unit: Unit) -> None:
        try:
            if unit.fence > MAX_ATTEMPTS:
                raise AttemptsExhausted(
                    f"unit {unit.position} ({unit.shard['file']}) was begun {MAX_ATTEMPTS} times and never ended; its "
                    "workers died under it: look at their logs and memory, then submit the job again",
                    file=unit.shard["file"],
                )
            left = self._store.complete_unit(unit.id, unit.fence, self._stream(job, unit))
        except LeaseLost:  # taken over, or its job has ended: then what this attempt staged must go
            log.warning("unit.lost", unit=unit.id, fence=unit.fence)
            self._queue.send(PUBLISH, job.id)
        except StoreUnavailable:
            raise
        except CrossfadeError as error:
            self._give_up(job, unit, error)
        except Exception as error:  # the boundary of a unit: a bug must end the attempt, not leave it to its lease
            log.exception("unit.crashed", unit=unit.id)
            kind = type(error).__name__
            self._give_up(job, unit, UnitCrashed(f"unit {unit.position} crashed ({kind}); see the worker's log"))
        except BaseException:  # this process is told to stop: whoever gets the message again need not wait
            self._store.release_unit(unit.id, unit.fence)
            raise
        else:
            log.info("unit.done", unit=unit.id, file=unit.shard["file"], units_left=left)
            if left == 0 or self._store.get_job(job.id).state is not JobState.RUNNING:
                self._queue.send(PUBLISH, job.id)

    def _stream(self, job: Job, unit: Unit) -> dict[str, Any]:
        lease = UnitLease(self._store, self._clock, unit, self._settings.lease_seconds)
        with open_sources(pinned_sources(job), self._open_source) as sources:
            shard, order = ShardPlan.from_record(unit.shard), Order.of(job.spec, job.id)
            return stream_shard(
                shard,
                Parents(sources, pinned_files(job.plan_summary or {})),
                order,
                self._open_sink(job.spec, job.id),
                resources=self._settings.resources,
                on_tick=lease.tick,
            )

    def _give_up(self, job: Job, unit: Unit, error: CrossfadeError) -> None:
        """End an attempt that failed: try again if that may help, else the job fails."""
        self._store.release_unit(unit.id, unit.fence)
        is_running = self._store.get_job(job.id).state is JobState.RUNNING
        if error.retryable and unit.fence < MAX_ATTEMPTS and is_running:
            log.warning("unit.retried", unit=unit.id, code=error.code, message=error.message)
            self._queue.send(UNIT, unit.id)
            return
        with contextlib.suppress(IllegalTransition):  # cancelled, or failed by another unit
            self._store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=error.as_record())
            log.warning("job.failed", unit=unit.id, code=error.code, message=error.message)
        self._queue.send(PUBLISH, job.id)
