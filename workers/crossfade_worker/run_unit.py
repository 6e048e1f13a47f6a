"""Run one unit: claim its lease, stream its shard for every λ, store the digests. The only use case with tensors."""

import contextlib
import random
import re
from dataclasses import dataclass
from typing import Any, Final

import structlog

from crossfade_core.errors import (
    AttemptsExhausted,
    CrossfadeError,
    IllegalTransition,
    JobCancelled,
    LeaseLost,
    OutOfMemory,
    QueueUnavailable,
    StoreUnavailable,
    UnitCrashed,
)
from crossfade_core.job import Job, JobState, Phase, Unit, UnitId
from crossfade_core.job_store import JobStore
from crossfade_core.messages import PUBLISH, UNIT
from crossfade_core.plan import ShardPlan
from crossfade_core.ports import Clock, OpenSink, OpenSource, TaskQueue
from crossfade_engine.merge_shard import Parents, Resources
from crossfade_registries.layout import open_sources
from crossfade_worker.keeping import Keeping
from crossfade_worker.lease import UnitLease
from crossfade_worker.plan_record import pinned_files, pinned_sources
from crossfade_worker.stream_shard import Order, stream_shard

MAX_FAILURES: Final = 5
"""So many attempts may end with an error that another may not meet; then the job fails."""
LONGEST_WAIT_SECONDS: Final = 300.0

_NO_MEMORY: Final = re.compile(r"allocate memory|out of memory|start new thread", re.IGNORECASE)
"""In the words of libc (ENOMEM), of torch's allocators, which raise RuntimeError, and of Python's threads."""

log = structlog.get_logger()


@dataclass(frozen=True)
class UnitSettings:
    """Who this process is and how it works.

    Attributes:
        owner: Its name, for leases.
        lease_seconds: How long a lease lasts unless renewed.
        resources: What to compute with.
        max_deaths: A unit under which so many workers died is taken to kill them; its job fails.
        retry_seconds: How long a unit waits after its first failure; four times as long after each further one.
        keep_failed_seconds: How long a failed job keeps what it has staged.
    """

    owner: str
    lease_seconds: float
    resources: Resources
    max_deaths: int = 3
    retry_seconds: float = 2.0
    keep_failed_seconds: float = 0.0


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
        self._keeping = Keeping(clock, settings.keep_failed_seconds)

    def __call__(self, unit_id: UnitId) -> None:
        """Claim the unit and run it, or first one of a job that is more urgent; then the message is sent again.

        Raises:
            StoreUnavailable: The database is away; the lease runs out and the sweep sends the unit again.
            QueueUnavailable: The broker is away; the sweep sends what is missing.
        """
        urgent = self._store.more_urgent_unit(unit_id)
        if urgent is not None:
            self._queue.send(UNIT, unit_id)  # first: what is claimed while the broker is away would count as a death
        unit = (urgent and self._claim(urgent)) or self._claim(unit_id)
        if unit is None:
            return
        job = self._store.get_job(unit.job_id)
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            self._attempt(job, unit)

    def _claim(self, unit_id: UnitId) -> Unit | None:
        return self._store.claim_unit(unit_id, self._settings.owner, self._settings.lease_seconds)

    def _attempt(self, job: Job, unit: Unit) -> None:
        try:
            if unit.deaths >= self._settings.max_deaths:
                raise AttemptsExhausted(
                    f"unit {unit.position} ({unit.shard['file']}) was begun {unit.deaths} times and never ended; its "
                    "workers died under it: look at their logs and memory, then retry the job",
                    file=unit.shard["file"],
                )
            left = self._store.complete_unit(unit.id, unit.fence, self._stream(job, unit))
        except (LeaseLost, JobCancelled) as error:  # taken over, or its job has ended: then what it staged must go
            log.warning("unit.dropped", unit=unit.id, fence=unit.fence, code=error.code)
            self._store.release_unit(unit.id, unit.fence)
            self._queue.send(PUBLISH, job.id)
        except StoreUnavailable:
            raise
        except CrossfadeError as error:
            self._give_up(job, unit, error)
        except Exception as error:  # the boundary of a unit: a bug must end the attempt, not leave it to its lease
            log.exception("unit.crashed", unit=unit.id)
            self._give_up(job, unit, _crash(unit, error))
        except BaseException:  # this process is told to stop: another goes on at once
            with contextlib.suppress(StoreUnavailable, QueueUnavailable):  # then the lease runs out
                self._store.release_unit(unit.id, unit.fence)
                self._queue.send(UNIT, unit.id)
            raise
        else:
            log.info("unit.done", unit=unit.id, file=unit.shard["file"], units_left=left)
            if left == 0 or not self._is_running(job):
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
        """End an attempt that failed: try again later if that may help, else the job fails."""
        if error.retryable and unit.failures + 1 < MAX_FAILURES and self._is_running(job):
            wait_seconds = _wait_seconds(self._settings.retry_seconds * 4**unit.failures, error)
            log.warning("unit.failed", unit=unit.id, code=error.code, message=error.message, wait_seconds=wait_seconds)
            self._store.fail_unit(unit.id, unit.fence, wait_seconds, error.as_record())  # the sweep sends it when due
            return
        is_held = self._store.release_unit(unit.id, unit.fence)
        with contextlib.suppress(IllegalTransition):  # cancelled, or failed by another unit
            if not is_held:  # of an attempt before the job was retried
                return
            record = error.as_record()
            staged_until = self._keeping.until(record)
            self._store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=record, staged_until=staged_until)
            log.warning("job.failed", unit=unit.id, code=error.code, message=error.message)
        self._queue.send(PUBLISH, job.id)

    def _is_running(self, job: Job) -> bool:
        return self._store.get_job(job.id).state is JobState.RUNNING


def _crash(unit: Unit, error: Exception) -> UnitCrashed:
    file = unit.shard["file"]
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return OutOfMemory(
            f"unit {unit.position} ({file}) was refused memory; give merge workers more, or fewer threads "
            "(CROSSFADE_THREADS), then retry the job",
            file=file,
        )
    kind = type(error).__name__
    return UnitCrashed(f"unit {unit.position} ({file}) crashed ({kind}); see the worker's log", file=file)


def _wait_seconds(seconds: float, error: CrossfadeError) -> float:
    """Return as many, or what the other side asked for if that is more, or up to a quarter more than either.

    So units that one outage failed together come back apart.
    """
    told = error.details.get("retry_after_seconds")
    least = float(told) if isinstance(told, int | float) else 0.0
    return min(LONGEST_WAIT_SECONDS, max(least, seconds) * random.uniform(1.0, 1.25))
