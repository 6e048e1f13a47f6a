"""Put right what messages lost: units whose worker died, jobs whose message never came; end jobs that are overdue."""

import contextlib
from typing import Final

import structlog

from crossfade_core.errors import DeadlineExceeded, IllegalTransition
from crossfade_core.job import Job, JobState, Phase, UnitState
from crossfade_core.job_store import JobStore
from crossfade_core.messages import PLAN, PUBLISH, UNIT
from crossfade_core.ports import TaskQueue
from crossfade_core.webhook_store import WebhookStore
from crossfade_worker.keeping import Keeping

IDLE_SECONDS: Final = 30.0
"""A job untouched for so long has lost its message, or waits behind others; one message more does no harm."""

log = structlog.get_logger()


class Sweep:
    """Sends again from the store; ends what is overdue and takes dead leases, so that two sweepers at once do no harm.

    Args:
        store: The truth.
        webhooks: Whose old deliveries are forgotten.
        queue: Where messages are sent again.
        keeping: For how long the staged shards of an overdue job are kept.
        idle_seconds: A job untouched for so long is sent again.
    """

    def __init__(
        self,
        store: JobStore,
        webhooks: WebhookStore,
        queue: TaskQueue,
        keeping: Keeping,
        *,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._store, self._webhooks, self._queue = store, webhooks, queue
        self._keeping, self._idle_seconds = keeping, idle_seconds

    def __call__(self) -> None:
        """Look once.

        Raises:
            StoreUnavailable, QueueUnavailable: Something is away; the next sweep tries again.
        """
        for unit in self._store.expired_units():
            self._queue.send(UNIT, unit.id)
            if self._store.expire_unit(unit.id, unit.fence):  # it waits now like any other, and is not found here again
                log.warning("unit.expired", unit=unit.id, job_id=unit.job_id, owner=unit.lease_owner)
        for unit in self._store.due_units():
            self._queue.send(UNIT, unit.id)
        for job in self._store.overdue_jobs():
            self._fail_overdue(job)
        for job in self._store.staged_jobs(self._idle_seconds):
            self._queue.send(PUBLISH, job.id)
            self._store.touch_job(job.id)
        self._store.forget_requests()
        self._webhooks.forget_deliveries()
        for job in self._store.idle_jobs(self._idle_seconds):
            self._resend(job)
            self._store.touch_job(job.id)

    def _fail_overdue(self, job: Job) -> None:
        error = DeadlineExceeded(
            f"the job had not ended {job.spec.deadline_seconds:g} s after it was submitted; submit it again with a "
            "later deadline, or fewer λ",
            deadline_seconds=job.spec.deadline_seconds,
        )
        with contextlib.suppress(IllegalTransition):  # it ended, or was cancelled, meanwhile
            record = error.as_record()
            staged_until = self._keeping.until(record)
            self._store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=record, staged_until=staged_until)
            log.warning("job.failed", job_id=job.id, code=error.code, message=error.message)
        self._queue.send(PUBLISH, job.id)

    def _resend(self, job: Job) -> None:
        log.info("job.resent", job_id=job.id, state=job.state)
        if job.state is JobState.CANCELLING:
            self._queue.send(PUBLISH, job.id)
        elif job.state is JobState.QUEUED or job.plan_summary is None:
            self._queue.send(PLAN, job.id)
        else:
            waiting = [unit for unit in self._store.list_units(job.id) if unit.state is UnitState.PENDING]
            for unit in waiting:
                if unit.not_before is None:  # else it is sent when it is due
                    self._queue.send(UNIT, unit.id)
            if not waiting:
                self._queue.send(PUBLISH, job.id)
