"""HTTP to one service: requests and streams, what fails in passing sent again. Knows no path and no answer's fields."""

import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from crossfade_client.refusal import refusal_of
from crossfade_client.server_events import ServerEvent, read_events
from crossfade_core.errors import Reported, ServiceUnreachable

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 60.0
"""A submission reads both checkpoints' headers before it is answered."""
STREAM_SILENCE_SECONDS: Final = 20.0
"""The service breaks the silence of a stream after 15 s (`crossfade_api.routes.events`)."""
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 10.0
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_Answer = TypeVar("_Answer", bound=BaseModel)


@dataclass(frozen=True)
class Request:
    """One call of the API."""

    method: str
    path: str
    params: Mapping[str, str | int | Sequence[str]] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_question: bool = False
    """Whether it changes nothing although it is a POST."""
    is_idempotent: bool = False
    """Whether to do it twice is to do it once, although it is a POST."""

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again when nobody knows what became of it the first time."""
        is_safe = self.method == "GET" or self.is_question or self.is_idempotent
        return is_safe or "Idempotency-Key" in self.headers


class Connection:
    """A connection to one service; close it.

    Args:
        url: Where the service is. A name and password in it are sent, and never shown.
        token: Sent as a bearer token when given, and never shown.
        patience_seconds: How long a repeatable request is sent again.

    Raises:
        ServiceUnreachable: The URL or the token is malformed.
    """

    def __init__(self, url: str, token: str | None, patience_seconds: float) -> None:
        try:
            address = httpx.URL(url.rstrip("/"))
        except httpx.InvalidURL as error:
            why = "it holds a password and is not shown" if "@" in url else f"{url!r}: {error}"
            raise ServiceUnreachable(f"the address is no URL ({why}); give one such as http://127.0.0.1:8000") from None
        self.url = str(address.copy_with(userinfo=b"")) if address.userinfo else url.rstrip("/")
        self.patience_seconds = patience_seconds
        if address.scheme not in ("http", "https") or not address.host:
            raise ServiceUnreachable(f"{self.url!r} is no http or https URL; give one such as http://127.0.0.1:8000")
        if token and not (token.isascii() and token.isprintable() and token == token.strip()):
            # The HTTP library would refuse it too, with the token in its message.
            raise ServiceUnreachable("the token holds characters that no HTTP header can, a line break perhaps")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auth=(address.username, address.password) if address.userinfo and not token else None,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=address.host not in _LOOPBACK,  # a proxy cannot reach this machine's own loopback
        )

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def call(self, request: Request, answer: type[_Answer]) -> _Answer:
        """Send a request, again while it fails in passing, and return its answer.

        Raises:
            Reported: The service refused it.
            ServiceUnreachable: No service answers, or another kind of service does.
        """
        return self.read(self._patiently(request), answer)

    def ask_once(self, request: Request, timeout_seconds: float = ANSWER_SECONDS) -> httpx.Response:
        """Send a request once and return the response: a success, or 304.

        Raises:
            Reported: The service refused it.
            ServiceUnreachable: No service answers.
        """
        try:
            response = self._http.request(
                request.method,
                request.path,
                params=request.params,
                json=request.body,
                headers=request.headers,
                timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS)),
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not (response.is_success or response.status_code == httpx.codes.NOT_MODIFIED):
            raise refusal_of(response)
        return response

    def read(self, response: httpx.Response, answer: type[_Answer]) -> _Answer:
        """Return what a response says.

        Raises:
            ServiceUnreachable: It is not of the form that a crossfade service answers.
        """
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise ServiceUnreachable(
                f"{self.url} does not answer like a crossfade service ({error.error_count()} fields are wrong); "
                "check its address (--url)"
            ) from error

    def stream(self, path: str, last_event_id: str | None, until: float = math.inf) -> Iterator[ServerEvent]:
        """Yield the events of a stream until it ends; once `until` (`time.monotonic`) is past, soon after.

        Raises:
            Reported: The service refused.
            ServiceUnreachable: The connection dropped, or nothing came for 20 s.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        timeout = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_SECONDS)
        try:
            with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise refusal_of(response)
                yield from read_events(_until(response.iter_bytes(), until))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise ServiceUnreachable(f"{self.url} does not speak crossfade's event stream: {error}") from error

    def _patiently(self, request: Request) -> httpx.Response:
        give_up_at = time.monotonic() + self.patience_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self.ask_once(request)
            except (Reported, ServiceUnreachable) as error:
                # By chance added, so that all who were told the same second do not come in it.
                wait_seconds = asked_pause(error) + pause_seconds * random.uniform(0.5, 1)
                is_passing = request.is_repeatable and error.retryable
                if not is_passing or time.monotonic() + wait_seconds > give_up_at:
                    raise
            time.sleep(wait_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"no crossfade service answers at {self.url} ({str(error) or type(error).__name__}); "
            "start one with `crossfade serve`, or give its address with --url"
        )


def asked_pause(error: Reported | ServiceUnreachable) -> float:
    """Return how many seconds the service asked to be left alone for; 0 where it did not."""
    asked = error.record.get("retry_after_seconds") if isinstance(error, Reported) else None
    return asked if isinstance(asked, float) else 0.0


def _until(chunks: Iterable[bytes], until: float) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        if time.monotonic() > until:
            return
