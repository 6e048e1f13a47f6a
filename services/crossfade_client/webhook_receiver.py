"""Receive webhooks in the process that waits for them: a small HTTP server, and an inbox of verified messages.

For release scripts; a service of one's own has an HTTP server already and calls `crossfade_client.webhooks.verify`.
"""

import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from crossfade_client.webhooks import WebhookMessage, read_secret, verify
from crossfade_core.errors import WaitTimedOut, WebhookUnverified

BODY_BYTES: Final = 1 << 20
"""Of one message; more is refused before it is read."""
KEPT: Final = 10_000
"""Messages remembered, also to know one that is delivered again."""
_SILENCE_SECONDS: Final = 10.0
"""How long whoever connects may keep a thread waiting for the next byte."""
_POLL_SECONDS: Final = 0.05

Matches = Callable[[WebhookMessage], bool]
_Request = socket.socket | tuple[bytes, socket.socket]


class Receiver:
    """A webhook's receiver; a context manager. It answers 204 to what is signed by its secret, and 400 to the rest.

    Args:
        secret: The webhook's, `whsec_<base64>`.
        host: Where to listen; only this machine reaches the default.
        port: 0 picks a free one; see `url`.
        on_refusal: Told of every message that could not be verified, in the server's thread.

    Raises:
        SecretMalformed: The secret is not of its form.
        OSError: The port is in use, or not ours to use.
    """

    def __init__(
        self,
        secret: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        on_refusal: Callable[[WebhookUnverified], None] | None = None,
    ) -> None:
        read_secret(secret)
        self._inbox = _Inbox()
        self._server = _Server((host, port), secret, self._inbox, on_refusal or (lambda error: None))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens: what to give as the webhook's URL, unless a proxy stands before it."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def messages(self, timeout_seconds: float | None = None) -> Iterator[WebhookMessage]:
        """Yield every message once, those that have come and those that come, in that order.

        Args:
            timeout_seconds: How long to go on in all; None for ever.

        Raises:
            WaitTimedOut: The time is over.
        """
        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        number = 0
        while True:
            found = self._inbox.get(number, None if until is None else until - time.monotonic())
            if found is None:
                raise WaitTimedOut(
                    f"{number} webhook messages came to {self.url} within {timeout_seconds:g} s and none was the last "
                    "one waited for; the service's deliveries say what was sent where",
                    timeout_seconds=timeout_seconds,
                )
            number, message = found
            yield message

    def wait_for(self, wanted: str | Matches, timeout_seconds: float | None = None) -> WebhookMessage:
        """Return the first message that is wanted, also one that has come already.

        Args:
            wanted: A job's id, for the message that it has ended, however; or what tells of a message if it is wanted.
            timeout_seconds: How long to wait; None for as long as it takes.

        Raises:
            WaitTimedOut: None came in time.
        """
        is_wanted = _ends(wanted) if isinstance(wanted, str) else wanted
        return next(message for message in self.messages(timeout_seconds) if is_wanted(message))


class _Inbox:
    """The newest messages, each once; numbered from 0 in the order they came."""

    def __init__(self) -> None:
        self._messages: deque[WebhookMessage] = deque(maxlen=KEPT)
        self._count = 0
        self._changed = threading.Condition()

    def put(self, message: WebhookMessage) -> None:
        """Keep a message, unless it is here."""
        with self._changed:
            if all(message.id != kept.id for kept in self._messages):
                self._messages.append(message)
                self._count += 1
                self._changed.notify_all()

    def get(self, number: int, timeout_seconds: float | None) -> tuple[int, WebhookMessage] | None:
        """Wait for the message of a number, or the oldest kept behind it; return it behind the number of the next."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count > number, timeout_seconds):
                return None
            first = self._count - len(self._messages)
            number = max(number, first)
            return number + 1, self._messages[number - first]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        secret: str,
        inbox: _Inbox,
        on_refusal: Callable[[WebhookUnverified], None],
    ) -> None:
        super().__init__(address, _Handler)
        self.secret = secret
        self.inbox = inbox
        self.on_refusal = on_refusal

    def handle_error(self, request: _Request, client_address: object) -> None:
        """Say nothing of a connection that broke: the sender sends again."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENCE_SECONDS
    server_version = "crossfade"
    sys_version = ""

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            self._answer(HTTPStatus.LENGTH_REQUIRED)
            return
        if int(length) > BODY_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        try:
            message = verify(self.server.secret, dict(self.headers.items()), body)
        except WebhookUnverified as error:
            self.server.on_refusal(error)
            self._answer(HTTPStatus.BAD_REQUEST, error.message)
            return
        # The answer first: whoever waits for the message may end this process at once.
        self._answer(HTTPStatus.NO_CONTENT)
        self.server.inbox.put(message)

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error, which is the script's own."""

    def _answer(self, status: HTTPStatus, text: str = "") -> None:
        data = text.encode()
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _ends(job_id: str) -> Matches:
    return lambda message: message.is_ending and message.job_id == job_id
