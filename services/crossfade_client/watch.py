"""Follow a job to its end through dropped connections: by its event stream, and by asking where there is no stream."""

import math
import time
from collections.abc import Callable
from typing import Final

import httpx
from pydantic import ValidationError

from crossfade_client.connection import ANSWER_SECONDS, STREAM_SILENCE_SECONDS, Connection, Request, asked_pause
from crossfade_client.views import JobView, Progress
from crossfade_core.errors import Reported, ServiceUnreachable, WaitTimedOut
from crossfade_core.job import ENDINGS, Phase

ABSENCE_SECONDS: Final = 60.0
"""How long a service that has answered before may be away."""
_BUSY: Final = frozenset({"rate_limited"})
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 2.0


class Watch:
    """Follows one job.

    Args:
        connection: Whom to ask.
        path: The job's path there.
        show: Told how far the job is, whenever that is known anew.
        absence_seconds: How long the service may be away once it has answered; before, as long as the connection is
            patient.
        timeout_seconds: How long to wait in all; None for as long as it takes.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        show: Callable[[Progress], None],
        *,
        absence_seconds: float = ABSENCE_SECONDS,
        timeout_seconds: float | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._show = show
        self._absence_seconds = absence_seconds
        self._timeout_seconds = timeout_seconds
        self._began_at = self._heard_at = time.monotonic()
        self._last_event_id: str | None = None
        self._etag: str | None = None
        self._job: JobView | None = None

    def until_end(self, *, on_waiting: Callable[[JobView], None] | None = None, until_staged: bool = False) -> JobView:
        """Return the job once it has ended, or waits for approval where `until_staged` says so.

        A stream that breaks is taken up behind the last event seen. Between two streams the job is asked for, so a
        service whose streams never arrive (a proxy in between) is polled.

        Args:
            on_waiting: Told the job when it begins to wait for approval.
            until_staged: Whether a job that waits for approval is returned too.

        Raises:
            Reported: The service refused: no such job, no valid token.
            ServiceUnreachable: Nobody answered for as long as it may be away.
            WaitTimedOut: The job has not ended in time.
        """
        job = self._ask()
        pause_seconds = _FIRST_PAUSE_SECONDS
        has_waited = False
        while job is None or not (job.has_ended or (until_staged and job.waits_for_approval)):
            if job is not None:
                self._show(job.progress)
                if on_waiting is not None and job.waits_for_approval and not has_waited:
                    on_waiting(job)
                has_waited = job.waits_for_approval
            has_heard = self._listen()
            pause_seconds = _FIRST_PAUSE_SECONDS if has_heard else min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            job = self._ask()
            if job is None or not job.has_ended:
                self._rest(pause_seconds)
        self._show(job.progress)
        return job

    def _listen(self) -> bool:
        """Follow the stream until it ends or breaks; return whether it brought anything."""
        # A silent stream is noticed after STREAM_SILENCE_SECONDS only, so the last of a limited wait is spent asking.
        until = time.monotonic() + self._left_seconds() - STREAM_SILENCE_SECONDS
        if until <= time.monotonic():
            return False
        has_heard = False
        try:
            for event in self._connection.stream(f"{self._path}/events", self._last_event_id, until):
                has_heard = True
                self._heard_at = time.monotonic()
                self._last_event_id = event.id or self._last_event_id
                if event.type == "progress":
                    self._show(Progress.model_validate(event.data))
                if event.type in ENDINGS or event.data.get("phase") == Phase.APPROVING:
                    break
        except (ServiceUnreachable, Reported, ValidationError):
            pass  # what it means is for the next question to the job itself to tell
        return has_heard

    def _ask(self) -> JobView | None:
        """Return the job, as it was when the service does not answer for a moment."""
        headers = {} if self._etag is None else {"If-None-Match": self._etag}
        try:
            response = self._connection.ask_once(
                Request("GET", self._path, headers=headers), min(ANSWER_SECONDS, max(1.0, self._left_seconds()))
            )
        except (ServiceUnreachable, Reported) as error:
            allowed_seconds = self._connection.patience_seconds if self._job is None else self._absence_seconds
            is_busy = isinstance(error, Reported) and error.code in _BUSY and self._job is not None
            if is_busy:  # it is there, and says when to come back
                self._heard_at = time.monotonic()
                self._rest(asked_pause(error))
            if error.retryable and (is_busy or time.monotonic() - self._heard_at < allowed_seconds):
                return self._job
            raise
        self._heard_at = time.monotonic()
        if response.status_code != httpx.codes.NOT_MODIFIED:
            self._job = self._connection.read(response, JobView)
            self._etag = response.headers.get("ETag")
        return self._job

    def _left_seconds(self) -> float:
        return math.inf if self._timeout_seconds is None else self._began_at + self._timeout_seconds - time.monotonic()

    def _rest(self, pause_seconds: float) -> None:
        left_seconds = self._left_seconds()
        if left_seconds <= 0:
            stands = "could not be asked for" if self._job is None else f"is {self._job.state}"
            raise WaitTimedOut(
                f"{self._path} {stands} and has not ended within {self._timeout_seconds:g} s; it goes on: wait again, "
                "or cancel it",
                timeout_seconds=self._timeout_seconds,
            )
        time.sleep(min(pause_seconds, left_seconds))
