"""A small HTTP/1.1 client for one server: keep-alive connections over asyncio, no more than a load generator needs.

Cheap on purpose: client and server share the cores, and what the client takes the server lacks. Source: RFC 9112.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_BODILESS: Final = (204, 304)


class AnswerLostError(Exception):
    """The server closed the connection before it had answered."""


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Connections to one port of this machine: one that is free, else a new one; `opened` counts them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[_Connection] = []
        self.opened = 0

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return its answer.

        Raises:
            AnswerLostError: The server closed the connection before it had answered.
            OSError: There is no connection to be had.
        """
        connection = await self._take()
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)
        return answer

    def close(self) -> None:
        """Close what is free."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    async def _take(self) -> "_Connection":
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        return connection


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None
        self.is_open = False

    async def ask(self, request: bytes) -> Answer:
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(AnswerLostError(f"the server closed the connection: {error}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = read_answer(self._received)
        if answer is not None and self._waiting is not None and not self._waiting.done():
            self._received.clear()
            self._waiting.set_result(answer)


def read_answer(received: bytearray) -> Answer | None:
    """Read one answer; None while some of it is still to come."""
    end = received.find(_HEAD_END)
    if end < 0:
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status, body = int(first.split()[1]), received[end + len(_HEAD_END) :]
    if status in _BODILESS:
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        whole = _unchunked(body)
        return None if whole is None else Answer(status, headers, whole)
    expected = int(headers["content-length"])
    return None if len(body) < expected else Answer(status, headers, bytes(body[:expected]))


def _unchunked(body: bytearray) -> bytes | None:
    """Join the chunks of a body; None while the last, which is empty, is still to come."""
    parts, position = [], 0
    while (line_end := body.find(b"\r\n", position)) >= 0:
        size = int(body[position:line_end], 16)
        start = line_end + 2
        if len(body) < start + size + 2:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(bytes(body[start : start + size]))
        position = start + size + 2
    return None
