"""What a route may ask for: the adapters behind the ports, and the job that its path names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

import structlog
from fastapi import Depends, Path, Request

from crossfade_api.known_keys import KnownKeys
from crossfade_api.webhook_secrets import WebhookSecrets
from crossfade_core.audit import AuditLog
from crossfade_core.errors import JobNotFound, QueueUnavailable
from crossfade_core.job import Job, JobId
from crossfade_core.job_store import JobStore
from crossfade_core.keys import Caller
from crossfade_core.lineage_graph import LineageStore
from crossfade_core.messages import TaskName
from crossfade_core.ports import Clock, OpenSink, OpenSource, TaskQueue
from crossfade_core.spec import MergeSpec
from crossfade_core.webhook_store import WebhookStore
from crossfade_registries.header_cache import HeaderCache
from crossfade_registries.source_signatures import SourceTrust

JOB_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"

log = structlog.get_logger()


class ReachableQueue(TaskQueue, Protocol):
    """A task queue that can say whether its broker is there."""

    def ping(self) -> None:
        """Reach the broker, or raise QueueUnavailable."""


@dataclass(frozen=True)
class Adapters:
    """Everything outside the process that the API speaks to; `check_user` and `requires_approval` are `Registries`'."""

    store: JobStore
    keys: KnownKeys
    webhooks: WebhookStore
    secrets: WebhookSecrets
    audit: AuditLog
    lineage: LineageStore
    queue: ReachableQueue
    open_source: OpenSource
    open_sink: OpenSink
    check_user: Callable[[str, str], None]
    requires_approval: Callable[[str], bool]
    header_cache: HeaderCache
    trust: SourceTrust
    clock: Clock

    def check_caller(self, caller: Caller, spec: MergeSpec) -> None:
        """Let a caller publish where a spec says.

        Raises:
            DestinationNotAllowed: The server's configuration does not.
        """
        if not caller.is_admin:
            self.check_user(spec.destination, caller.name)

    def send(self, task: TaskName, job_id: JobId) -> None:
        """Send a message about what is stored: a broker that is away is a warning, since the sweep sends it again."""
        try:
            self.queue.send(task, job_id)
        except QueueUnavailable as error:
            log.warning("queue.unavailable", task=task, job_id=job_id, reason=error.message)


async def get_adapters(request: Request) -> Adapters:  # FastAPI would run a plain function on a thread
    """Return what the lifespan of the application opened."""
    adapters: Adapters = request.app.state.adapters
    return adapters


AdaptersDep = Annotated[Adapters, Depends(get_adapters)]


async def named_job(job_id: Annotated[str, Path(description="The job's id.")]) -> JobId:
    """Return the id of the path; whether there is such a job the store tells.

    Raises:
        JobNotFound: The text cannot be an id: such never reaches the database.
    """
    if not re.fullmatch(JOB_ID_PATTERN, job_id):
        raise JobNotFound(f"{job_id!r} is no job id; GET /v1/merges lists the jobs there are")
    return JobId(job_id)


NamedJob = Annotated[JobId, Depends(named_job)]


def existing_job(job_id: NamedJob, adapters: AdaptersDep) -> Job:
    """Return the job of the path.

    Raises:
        JobNotFound: There is none.
    """
    return adapters.store.get_job(job_id)


ExistingJob = Annotated[Job, Depends(existing_job)]
