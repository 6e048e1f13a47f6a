"""The HTTP under the Hub of the tests: bodies pass block by block, counted, paced, with faults played out.

What is asked and answered is no business of this module: an `Origin` is given a function from `Request` to `Reply`.
"""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.http_faults import Disconnect, LoseAnswer, ReplaceAnswer, ShortAnswer, Stall, Status
from tests.fakes.hub_exchange import FileSlice, Reply, Request, refusal_reply, shortened
from tests.fakes.hub_refusal import HubError
from tests.fakes.hub_traffic import Asked, CutError, Pace, Traffic

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Origin(ThreadingHTTPServer):
    """A server on a port of its own. Closing it ends every connection and every thread.

    Args:
        name: What `Asked` and `Faults` call it.
        port: 0 for any that is free.
        traffic: Shared with the other origins.
        answer: What it does.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, name: str, port: int, traffic: Traffic, answer: Callable[[Request], Reply]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.name = name
        self.traffic = traffic
        self.answer = answer
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=f"{name} origin")

    def start(self) -> None:
        """Serve, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection and stop serving."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        with self.traffic.lock:
            connections = list(self._connections)
        for connection in connections:
            _cut(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, to be able to end it."""
        with self.traffic.lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self.traffic.lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away; what else happened is in `Traffic.crashes`."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def _serve(self) -> None:
        traffic = self.server.traffic
        has_token = self.headers.get("Authorization") is not None
        asked = Asked(self.command, self.path, self.headers.get("Range"), has_token, self.server.name)
        self._unread_bytes = int(self.headers.get("Content-Length") or 0)
        self._has_body = self._unread_bytes > 0
        self._fault = None
        if not self.path.startswith("/_"):  # the server's own, not the Hub's
            with traffic.lock:
                traffic.requests.append(asked)
            self._fault = traffic.faults.take(self.command, self.path, self.server.name)
        try:
            self._play_out()
        except CutError:
            self.close_connection = True
            self._cut()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 -- the standard library's names

    def _play_out(self) -> None:
        fault = self._fault
        if isinstance(fault, Stall):
            (fault.until or self.server.traffic.is_stopping).wait(fault.seconds)
        if isinstance(fault, Disconnect) and fault.after_bytes == 0:
            raise CutError
        reply = _told(fault) if isinstance(fault, Status) else self._answer()
        for _ in self._blocks():  # what nobody has read stands in the way of the next request
            pass
        if isinstance(fault, LoseAnswer) or (isinstance(fault, Disconnect) and self._has_body):
            raise CutError
        if isinstance(fault, ReplaceAnswer):
            reply = _told(fault.status)
        if isinstance(fault, ShortAnswer):
            reply = shortened(reply, fault.size_bytes)
        self._send(reply)

    def _cut(self) -> None:
        if isinstance(self._fault, Disconnect) and self._fault.is_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            os.close(self.connection.detach())  # `close` waits for the files made of the socket
        else:
            _cut(self.connection)

    def _answer(self) -> Reply:
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            return refusal_reply(HubError(411, "a body needs a Content-Length"))
        request = Request(self.command, self.path, self.headers, self._blocks)
        try:
            return self.server.answer(request)
        except HubError as refusal:
            return refusal_reply(refusal)
        except (CutError, ConnectionError):
            raise CutError from None
        except Exception as error:  # a fault of the server's own; the test must hear of it
            self.server.traffic.crashes.append(error)
            return refusal_reply(HubError(500, f"{type(error).__name__}: {error}"))

    def _blocks(self) -> Iterator[memoryview]:
        """Yield the body received, each block valid until the next."""
        pace = Pace(self.server.traffic.upload, self._fault if self._has_body else None)
        buffer = memoryview(bytearray(min(pace.block_bytes, self._unread_bytes)))
        position = 0
        while self._unread_bytes > 0:
            wanted = pace.until_cut(position, min(len(buffer), self._unread_bytes))
            got = self.rfile.readinto(buffer[:wanted])
            if got == 0:
                raise CutError
            pace.take(got)
            pace.spoil(buffer[:got], position)
            position += got
            self._unread_bytes -= got
            yield buffer[:got]

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in {"Content-Length": str(reply.size), **reply.headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        has_body = self.command != "HEAD"
        try:
            if has_body and isinstance(reply.body, bytes) and self._fault is None:
                self._headers_buffer.append(b"\r\n" + reply.body)
                return self.flush_headers()
            self.end_headers()
            if has_body:
                self._send_body(reply.body)
        except (ConnectionError, TimeoutError):
            raise CutError from None

    def _send_body(self, body: bytes | FileSlice) -> None:
        pace = Pace(self.server.traffic.download, None if self._has_body else self._fault)
        if isinstance(body, bytes):
            for start in range(0, len(body), pace.block_bytes):
                self._send_bytes(pace, bytearray(body[start : start + pace.block_bytes]), start)
            return
        with body.path.open("rb") as stream:
            self._send_slice(pace, stream.fileno(), body)

    def _send_slice(self, pace: Pace, descriptor: int, body: FileSlice) -> None:
        position = 0
        while position < body.size:
            wanted = pace.until_cut(position, min(pace.block_bytes, body.size - position))
            # Counted before it goes out, and put right after: who has received it finds it counted.
            self._count(body, wanted)
            sent = 0
            try:
                sent = self._send_block(pace, descriptor, body.start + position, position, wanted)
            finally:
                self._count(body, sent - wanted)
            if sent == 0:
                raise CutError
            position += sent

    def _send_block(self, pace: Pace, descriptor: int, start: int, position: int, wanted: int) -> int:
        if pace.spoils(position, wanted):
            return self._send_bytes(pace, bytearray(os.pread(descriptor, wanted, start)), position)
        pace.take(wanted)
        return os.sendfile(self.connection.fileno(), descriptor, start, wanted)

    def _count(self, body: FileSlice, count_bytes: int) -> None:
        traffic = self.server.traffic
        traffic.count(traffic.bytes_read, body.counted_as, count_bytes)

    def _send_bytes(self, pace: Pace, block: bytearray, position: int) -> int:
        wanted = pace.until_cut(position, len(block))
        pace.take(wanted)
        pace.spoil(memoryview(block), position)
        self.wfile.write(block[:wanted])
        return wanted

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; `Traffic.requests` remembers."""


def _told(status: Status) -> Reply:
    return Reply(status.code, status.headers, status.body)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
