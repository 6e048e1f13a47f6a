"""What a route may ask for: the adapters behind the ports, and the job that its path names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from fastapi import Depends, Path, Request

from crossfade_core.errors import JobNotFound
from crossfade_core.job import Job, JobId
from crossfade_core.ports import Clock, JobStore, KeyStore, OpenSink, OpenSource, TaskQueue

JOB_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"


class ReachableQueue(TaskQueue, Protocol):
    """A task queue that can say whether its broker is there."""

    def ping(self) -> None:
        """Reach the broker, or raise QueueUnavailable."""


@dataclass(frozen=True)
class Adapters:
    """Everything outside the process that the API speaks to; `check_user` is `Registries.check_user`."""

    store: JobStore
    keys: KeyStore
    queue: ReachableQueue
    open_source: OpenSource
    open_sink: OpenSink
    check_user: Callable[[str, str], None]
    clock: Clock


def get_adapters(request: Request) -> Adapters:
    """Return what the lifespan of the application opened."""
    adapters: Adapters = request.app.state.adapters
    return adapters


AdaptersDep = Annotated[Adapters, Depends(get_adapters)]


def existing_job(job_id: Annotated[str, Path(description="The job's id.")], adapters: AdaptersDep) -> Job:
    """Return the job of the path.

    Raises:
        JobNotFound: There is none, or the text cannot be an id: such never reaches the database.
    """
    if not re.fullmatch(JOB_ID_PATTERN, job_id):
        raise JobNotFound(f"{job_id!r} is no job id; GET /v1/merges lists the jobs there are")
    return adapters.store.get_job(JobId(job_id))


ExistingJob = Annotated[Job, Depends(existing_job)]
