"""How many requests a caller may send in a minute, counted in this process alone; never asks the store or the broker.

Windows are fixed: one begins with a caller's first request and lasts a minute, so that what the headers announce holds
to the request. They are counted here and not in Redis since the API goes on while the broker is away: behind N
processes a caller has up to N times its limit.

Not the package `limits` (5.8): its storage in memory starts a thread for the first request in every 10 ms, 0.3 ms each
where this takes a few µs, and reads the clock by itself.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossfade_api.problems import problem_of, problem_response
from crossfade_core.errors import RateLimited
from crossfade_core.keys import LOCAL, Caller
from crossfade_core.ports import Clock

WINDOW_SECONDS: Final = 60
POLICY: Final = "requests"
NO_LIMIT: Final = 0


@dataclass
class _Window:
    """One caller's minute."""

    began_at: datetime
    requests: int = 0

    def left_seconds(self, now: datetime) -> float:
        """Return how long it lasts; none of it where the clock was set back before its beginning."""
        age_seconds = (now - self.began_at).total_seconds()
        return WINDOW_SECONDS - age_seconds if age_seconds >= 0 else 0.0


@dataclass(frozen=True)
class Quota:
    """What a caller has left after a request.

    Attributes:
        limit: Requests in a window.
        requests: Those of this window, with this one.
        reset_seconds: Until the next window, rounded up.
    """

    limit: int
    requests: int
    reset_seconds: int

    @property
    def is_exceeded(self) -> bool:
        """Whether this request is one too many."""
        return self.requests > self.limit

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of draft-ietf-httpapi-ratelimit-headers-09."""
        left = max(self.limit - self.requests, 0)
        return {
            "RateLimit-Policy": f'"{POLICY}";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"{POLICY}";r={left};t={self.reset_seconds}',
        }


class RequestCounter:
    """Counts requests by caller. Holds a window for each caller of the last minute, and is used by one thread alone."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def count(self, caller: str, limit: int, now: datetime) -> Quota:
        """Count one request."""
        window = self._windows.get(caller)
        if window is None or window.left_seconds(now) <= 0:
            window = self._begin(caller, now)
        window.requests += 1
        return Quota(limit, window.requests, math.ceil(window.left_seconds(now)))

    def _begin(self, caller: str, now: datetime) -> _Window:
        self._windows.pop(caller, None)
        # All windows are of one length: those that began first are the first to be over.
        while self._windows and next(iter(self._windows.values())).left_seconds(now) <= 0:
            self._windows.popitem(last=False)
        self._windows[caller] = _Window(now)
        return self._windows[caller]


class RateLimit:
    """ASGI middleware that counts the requests of the caller `AccessGate` has found, and answers one too many with 429.

    Requests without a caller (probes, documentation) are not counted, nor are those of `LOCAL`.

    Args:
        app: What lies behind.
        per_minute: The limit of callers whose key states none; 0 for no limit.
        clock: Asked for it once the application runs.
    """

    def __init__(self, app: ASGIApp, per_minute: int, clock: Callable[[], Clock]) -> None:
        self._app = app
        self._per_minute = per_minute
        self._clock = clock
        self._counter = RequestCounter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is not counted as it is, all else with its quota in the answer's headers."""
        caller: Caller | None = scope["state"].get("caller") if scope["type"] == "http" else None
        limit = NO_LIMIT if caller is None else self._limit(caller)
        if caller is None or limit == NO_LIMIT:
            await self._app(scope, receive, send)
            return
        quota = self._counter.count(caller.name, limit, self._clock().now())
        scope["state"]["answer_headers"] = quota.headers  # for a fault of ours, which is answered further out
        if quota.is_exceeded:
            problem = problem_of(_refusal(caller, quota))
            answer = problem_response(problem, {**quota.headers, "Retry-After": str(quota.reset_seconds)})
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send, quota.headers))

    def _limit(self, caller: Caller) -> int:
        if caller == LOCAL:
            return NO_LIMIT
        return self._per_minute if caller.requests_per_minute is None else caller.requests_per_minute


def _refusal(caller: Caller, quota: Quota) -> RateLimited:
    return RateLimited(
        f"{caller.name!r} may send {quota.limit} requests in a minute and has sent them; send this one again in "
        f"{quota.reset_seconds} s, or ask the operator for more",
        requests_per_minute=quota.limit,
        retry_after_seconds=quota.reset_seconds,
    )


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers
