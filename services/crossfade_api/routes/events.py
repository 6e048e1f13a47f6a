"""A job's log: as a list, or as server-sent events: its stored history, then what happens, until it ends.

https://html.spec.whatwg.org/multipage/server-sent-events.html . The store is polled in short turns on worker threads;
nothing is held between turns, so a stream costs a timer while its job is quiet. FastAPI sends a comment after 15 s of
silence, which is also how a reader that went away is noticed.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final

import structlog
from anyio import sleep, to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.routing import APIRoute
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from crossfade_api.auth import Reader
from crossfade_api.dependencies import Adapters, AdaptersDep, ExistingJob, NamedJob
from crossfade_api.problems import documented
from crossfade_api.views import ProgressView, View
from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import ENDINGS, TERMINAL, Event, Job, JobId, Progress

POLL_SECONDS: Final = 0.25
PAGE: Final = 200

log = structlog.get_logger()
STREAM_TYPE: Final = "text/event-stream"
_LastEventId = Annotated[
    int, Header(ge=0, lt=2**63, description="Go on after this event; browsers send it when they reconnect.")
]


class _StreamRoute(APIRoute):
    """A route for those who ask for a stream; for others it is not there, and the list of the same path answers."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        accepted = Headers(scope=scope).get("accept", "") if scope["type"] == "http" else ""
        return super().matches(scope) if STREAM_TYPE in accepted else (Match.NONE, {})


streams = APIRouter(prefix="/v1/merges", tags=["events"], route_class=_StreamRoute)
router = APIRouter(prefix="/v1/merges", tags=["events"])


class EventView(View):
    """One event of a job's log."""

    id: int = Field(description="Its number in the job's log, from 1 on, without gaps.", examples=[3])
    type: str = Field(examples=["unit.done"])
    created_at: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventView":
        """Show one event."""
        return cls(id=event.sequence, type=event.type, created_at=event.created_at, data=event.data)


class EventListView(View):
    """Some events of a job, oldest first."""

    items: list[EventView]
    next: int | None = Field(description="Give it as `after` for what follows; null where the log ends for now.")


@router.get(
    "/{job_id}/events",
    operation_id="list_merge_events",
    summary="Read or follow a job's log",
    responses={
        200: {
            "description": "The list; or, for `Accept: text/event-stream`, a stream that begins after `Last-Event-ID`, "
            "goes on as things happen, and ends by itself after the event that ends the job. It has `progress` too, "
            "without an id.",
            "content": {
                STREAM_TYPE: {
                    "schema": {"type": "string"},
                    "example": 'id: 3\nevent: unit.done\ndata: {"position": 0, "created_at": "…"}\n\n',
                }
            },
        },
        **documented(401, 403, 404, 422, 503),
    },
)
def list_merge_events(
    _: Reader,
    job_id: NamedJob,
    response: Response,
    adapters: AdaptersDep,
    *,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Only events after this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE, description="Events in the answer.")] = PAGE,
    last_event_id: _LastEventId = 0,
) -> EventListView:
    """List the events of a job: all that happened to it, in one order that never changes."""
    response.headers["Vary"] = "Accept"
    events = adapters.store.list_events(job_id, after=max(after, last_event_id), limit=limit + 1)
    page = events[:limit]
    following = page[-1].sequence if len(events) > limit else None
    return EventListView(items=[EventView.of(event) for event in page], next=following)


@streams.get("/{job_id}/events", response_class=EventSourceResponse, include_in_schema=False)
async def stream_merge_events(
    request: Request,
    _: Reader,
    job: ExistingJob,
    adapters: AdaptersDep,
    last_event_id: _LastEventId = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Send every stored event with its number as `id`, and `progress` (no id) at most every 0.25 s while it changes.

    A stream that breaks off is taken up again with `Last-Event-ID`; no event is lost or doubled by that.
    """
    follower = _Follower(job.id, last_event_id, adapters)
    while not (follower.ended or request.app.state.stopping.is_set()):
        try:
            messages = await to_thread.run_sync(follower.poll)
        except StoreUnavailable as error:
            # The status line is long gone; to break off makes the reader come back with Last-Event-ID.
            log.warning("events.interrupted", job_id=job.id, reason=error.message)
            return
        for message in messages:
            yield message
        if not (follower.ended or follower.behind):
            await sleep(POLL_SECONDS)


class _Follower:
    """Reads on where the last turn stopped. `behind`: there is more to read at once; `ended`: there will be no more."""

    def __init__(self, job_id: JobId, after: int, adapters: Adapters) -> None:
        self.behind = False
        self.ended = False
        self._job_id = job_id
        self._after = after
        self._adapters = adapters
        self._shown: Progress | None = None

    def poll(self) -> list[ServerSentEvent]:
        # The job is read before its events: if it had ended by then, its last event is among them.
        job = self._adapters.store.get_job(self._job_id)
        progress = self._progress(job)
        events = self._adapters.store.list_events(self._job_id, after=self._after, limit=PAGE)
        if events:
            self._after = events[-1].sequence
        self.behind = len(events) == PAGE
        has_ended = job.state in TERMINAL or bool(events and events[-1].type in ENDINGS)
        self.ended = has_ended and not self.behind  # an end that a retry followed is none
        return [*progress, *map(_message, events)]

    def _progress(self, job: Job) -> list[ServerSentEvent]:
        if job.merging_at is None or self.behind:
            return []
        progress = self._adapters.store.progress(self._job_id)
        if progress == self._shown:
            return []
        self._shown = progress
        view = ProgressView.of(job, progress, self._adapters.clock.now())
        return [ServerSentEvent(event="progress", data=view)]


def _message(event: Event) -> ServerSentEvent:
    data = {**event.data, "created_at": event.created_at}
    return ServerSentEvent(id=str(event.sequence), event=event.type, data=data)
