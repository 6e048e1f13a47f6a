"""Follow a job to its end through dropped connections: by its event stream, and by asking where there is no stream."""

import time
from collections.abc import Callable

from crossfade_cli.client import Client
from crossfade_cli.views import JobView, Progress
from crossfade_core.errors import Reported, ServiceUnreachable
from crossfade_core.job import TERMINAL

_ENDINGS = frozenset({"job.succeeded", "job.partially_succeeded", "job.failed", "job.cancelled"})
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 2.0


class Watch:
    """Follows one job.

    Args:
        client: Whom to ask.
        job_id: Which job.
        show: Told how far the job is, whenever that is known anew.
        patience_seconds: How long the service may be away before that is an error.
    """

    def __init__(
        self, client: Client, job_id: str, show: Callable[[Progress], None], *, patience_seconds: float = 60
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._show = show
        self._patience_seconds = patience_seconds
        self._last_event_id: str | None = None
        self._heard_at = time.monotonic()

    def until_end(self) -> JobView:
        """Return the job once it has ended.

        A stream that breaks is taken up behind the last event seen. Between two streams the job is asked for, so a
        service whose streams never arrive (a proxy in between) is polled.

        Raises:
            Reported: The service refused: no such job, no valid token.
            ServiceUnreachable: Nobody answered for `patience_seconds`.
        """
        job = self._client.get(self._job_id)
        pause_seconds = _FIRST_PAUSE_SECONDS
        while job.state not in TERMINAL:
            self._show(job.progress)
            heard = self._listen()
            pause_seconds = _FIRST_PAUSE_SECONDS if heard else min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            job = self._ask() or job
            if job.state not in TERMINAL:
                time.sleep(pause_seconds)
        self._show(job.progress)
        return job

    def _listen(self) -> bool:
        """Follow the stream until it ends or breaks; return whether it brought anything."""
        heard = False
        try:
            for event in self._client.events(self._job_id, self._last_event_id):
                heard = True
                self._heard_at = time.monotonic()
                self._last_event_id = event.id or self._last_event_id
                if event.type == "progress":
                    self._show(Progress.model_validate(event.data))
                if event.type in _ENDINGS:
                    break
        except (ServiceUnreachable, Reported):
            pass  # what it means is for the next question to the job itself to tell
        return heard

    def _ask(self) -> JobView | None:
        try:
            job = self._client.get(self._job_id)
        except (ServiceUnreachable, Reported) as error:
            is_passing = isinstance(error, ServiceUnreachable) or bool(error.record.get("retryable"))
            if is_passing and time.monotonic() - self._heard_at < self._patience_seconds:
                return None
            raise
        self._heard_at = time.monotonic()
        return job
