"""The bodies of requests and answers as a proxy passes them on: read block by block, framed again for the next hop.

Source: RFC 9112, sections 6 and 7 (https://www.rfc-editor.org/rfc/rfc9112#section-6).
"""

import http.client
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from tests.fakes.http_pace import CutError, Pace

_LONGEST_LINE_BYTES = 65536
_DRAIN_BYTES = 65536
_HOP_BY_HOP = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "expect"))


class Body(Protocol):
    """Something to read to its end."""

    def readinto(self, block: memoryview) -> int:
        """Read up to a block's size of bytes; 0 at the end; CutError where the stream ends before."""


class SizedBody:
    """A body of a known length in a stream that goes on behind it."""

    def __init__(self, stream: io.BufferedReader, size_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = size_bytes

    def readinto(self, block: memoryview) -> int:
        wanted = block[: self._left_bytes]
        got = self._stream.readinto1(wanted) if wanted else 0
        if wanted and got == 0:
            raise CutError
        self._left_bytes -= got
        return got


class ChunkedBody:
    """A body in chunks, without their frames; trailer fields are dropped."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._chunk = SizedBody(stream, 0)
        self._is_first = True
        self._is_at_end = False

    def readinto(self, block: memoryview) -> int:
        if self._is_at_end:
            return 0
        got = self._chunk.readinto(block)
        return got or self._next_chunk(block)

    def _next_chunk(self, block: memoryview) -> int:
        if not self._is_first:
            self._line()
        self._is_first = False
        size_bytes = int(self._line().partition(b";")[0], 16)
        if size_bytes > 0:
            self._chunk = SizedBody(self._stream, size_bytes)
            return self._chunk.readinto(block)
        self._is_at_end = True
        while self._line():
            pass
        return 0

    def _line(self) -> bytes:
        line = self._stream.readline(_LONGEST_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise CutError
        return line.strip()


class AnswerBody:
    """The body of an answer, which `http.client` ends without a word when its connection breaks."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def readinto(self, block: memoryview) -> int:
        try:
            got = self._response.readinto(block)
        except http.client.IncompleteRead:
            raise CutError from None
        if got == 0 and self._response.length:
            raise CutError
        return got


def request_body(headers: Mapping[str, str], stream: io.BufferedReader) -> Body:
    """Return the body of a request, which may be empty."""
    if is_chunked(headers):
        return ChunkedBody(stream)
    return SizedBody(stream, int(headers.get("Content-Length") or 0))


def is_chunked(headers: Mapping[str, str]) -> bool:
    """Tell whether a body comes in chunks."""
    return "chunked" in (headers.get("Transfer-Encoding") or "").lower()


def end_to_end(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the header fields that are not about one hop only, in order."""
    return ((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP)


def drain(body: Body) -> None:
    """Read a body to its end, for the sake of what comes behind it."""
    buffer = memoryview(bytearray(_DRAIN_BYTES))
    while body.readinto(buffer):
        pass


def pass_on(body: Body, pace: Pace, send: Callable[[bytes | memoryview], object], *, in_chunks: bool) -> Iterator[int]:
    """Send a body on, and yield the size of each block just before, so that whoever has it finds it counted.

    Raises:
        CutError: A fault says so, or the body ended before its end.
        OSError: A side is gone.
    """
    buffer = memoryview(bytearray(pace.block_bytes))
    while True:
        got = body.readinto(buffer[: pace.room_bytes()])
        if got == 0:
            break
        pace.pass_block(buffer[:got])
        yield got
        if in_chunks:
            send(b"%x\r\n" % got)
        send(buffer[:got])
        if in_chunks:
            send(b"\r\n")
    if in_chunks:
        send(b"0\r\n\r\n")
