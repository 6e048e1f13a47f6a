"""Where a proxy sends requests on to, and the connections it does so by."""

import contextlib
import http.client
import select
import socket
import threading
from dataclasses import dataclass, field

from tests.fakes.http_faults import Faults, Throttle
from tests.fakes.http_traffic import Traffic

_ANSWER_SECONDS = 300


@dataclass
class Hop:
    """Where requests go on to, and how they pass."""

    host: str
    port: int
    upload: Throttle
    download: Throttle
    faults: Faults = field(default_factory=Faults)
    traffic: Traffic = field(default_factory=Traffic)
    is_stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def origin(self) -> str:
        """The upstream as `Faults` call it."""
        return f"{self.host}:{self.port}"


class Upstream:
    """One connection onwards, opened when needed."""

    def __init__(self, hop: Hop) -> None:
        self._connection = http.client.HTTPConnection(hop.host, hop.port, timeout=_ANSWER_SECONDS)

    def begin(self, method: str, target: str, fields: list[tuple[str, str]]) -> None:
        if self._is_closed_by_peer():
            self._connection.close()
        self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in fields:
            self._connection.putheader(name, value)
        self._connection.endheaders()

    def send(self, data: bytes | memoryview) -> None:
        self._connection.send(data)

    def answer(self) -> http.client.HTTPResponse:
        return self._connection.getresponse()

    def shut_down(self) -> None:
        """End it under a thread that waits for it."""
        shut_down(self._connection.sock)

    def close(self) -> None:
        self._connection.close()

    def _is_closed_by_peer(self) -> bool:
        # Between two requests the upstream has nothing to say but that it has closed.
        if self._connection.sock is None:
            return False
        poll = select.poll()
        poll.register(self._connection.sock, select.POLLIN)
        return bool(poll.poll(0))


def shut_down(connection: socket.socket | None) -> None:
    """End a connection under a thread that waits for it."""
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
