"""One hop of HTTP/1.1: each request goes on to one upstream server, each answer comes back, faults are played out."""

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.fakes.http_bodies import AnswerBody, drain, end_to_end, is_chunked, pass_on, request_body
from tests.fakes.http_faults import Disconnect, LoseAnswer, ReplaceAnswer, Stall, Status
from tests.fakes.http_pace import CutError, Pace
from tests.fakes.http_traffic import Passed
from tests.fakes.http_upstream import Hop, Upstream, shut_down

COUNTERS_PATH = "/_proxy/counters"
_RESET = struct.pack("ii", 1, 0)
"""A linger of 0 seconds (socket(7)): closing sends RST, and what was not sent is dropped."""
_LINGER_SECONDS = 60.0


class RelayServer(ThreadingHTTPServer):
    """Serves one hop on a port of its own. Stopping it ends every connection and every thread."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, hop: Hop, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hop = hop
        self._ends: set[Callable[[], None]] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="http relay")

    def start(self) -> None:
        """Serve, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection and stop serving."""
        self.hop.is_stopping.set()
        self.shutdown()
        self._thread.join()
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            end()
        self.server_close()

    @contextlib.contextmanager
    def ended_at_stop(self, end: Callable[[], None]) -> Iterator[None]:
        """Have `stop` call a function that frees a thread inside the block from waiting."""
        with self._lock:
            self._ends.add(end)
        try:
            yield
        finally:
            with self._lock:
                self._ends.discard(end)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: RelayServer

    def handle(self) -> None:
        self._upstream = Upstream(self.server.hop)
        with (
            self.server.ended_at_stop(self._end),
            contextlib.suppress(ConnectionError),
            contextlib.closing(self._upstream),
        ):
            if not self.server.hop.is_stopping.is_set():  # a stop that came before knows nothing of this thread
                super().handle()

    def _end(self) -> None:
        shut_down(self.connection)
        self._upstream.shut_down()

    def handle_expect_100(self) -> bool:
        """Put off the word to go on until the body is wanted."""
        self._is_awaited = True
        return True

    def parse_request(self) -> bool:
        self._is_awaited = False
        return super().parse_request()

    def _serve(self) -> None:
        if self.path == COUNTERS_PATH:
            return self._show_counters()
        hop = self.server.hop
        split = urlsplit(self.path)
        self._passed = Passed(self.command, unquote(split.path), split.query, self.headers.get("Range"))
        hop.traffic.begin(self._passed)
        self._fault = hop.faults.take(self.command, self.path, hop.origin)
        self._has_body = is_chunked(self.headers) or self.headers.get("Content-Length", "0") != "0"
        try:
            self._play_out()
        except (OSError, http.client.HTTPException):
            self._cut()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _serve  # noqa: N815 -- http.server's names

    def _play_out(self) -> None:
        fault = self._fault
        if isinstance(fault, Disconnect) and fault.after_bytes == 0:
            raise CutError
        if isinstance(fault, Status):
            self._drain_request()
            self._answer(fault)
            self._linger()
            return
        response = self._forward()
        if isinstance(fault, LoseAnswer) or (isinstance(fault, Disconnect) and self._has_body):
            drain(response)  # to be sure that it was done
            raise CutError
        if isinstance(fault, ReplaceAnswer):
            drain(response)
            self._answer(fault.status)
            return
        if isinstance(fault, Stall):
            (fault.until or self.server.hop.is_stopping).wait(fault.seconds)
        self._send_back(response)

    def _forward(self) -> http.client.HTTPResponse:
        """Send the request on, and return what it is answered with."""
        in_chunks = is_chunked(self.headers)
        fields = list(end_to_end(self.headers))
        if in_chunks:
            fields.append(("Transfer-Encoding", "chunked"))
        self._upstream.begin(self.command, self.path, fields)
        if self._has_body:
            self._let_body_come()
            pace = Pace(self.server.hop.upload, self._fault)
            body = request_body(self.headers, self.rfile)
            for sent in pass_on(body, pace, self._upstream.send, in_chunks=in_chunks):
                self.server.hop.traffic.count_written(self._passed, sent)
        return self._upstream.answer()

    def _send_back(self, response: http.client.HTTPResponse) -> None:
        has_body = self.command != "HEAD" and response.status not in (204, 304)
        in_chunks = has_body and response.getheader("Content-Length") is None
        self._passed.status = response.status
        self.send_response_only(response.status, response.reason)
        for name, value in end_to_end(response.headers):
            self.send_header(name, value)
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not has_body:
            drain(response)
            return
        pace = Pace(self.server.hop.download, None if self._has_body else self._fault)
        for sent in pass_on(AnswerBody(response), pace, self.wfile.write, in_chunks=in_chunks):
            self.server.hop.traffic.count_read(self._passed, sent)

    def _answer(self, status: Status) -> None:
        """Answer in place of the upstream."""
        self._passed.status = status.code
        self.server.hop.traffic.count_read(self._passed, len(status.body))
        self._send_whole(status.code, dict(status.headers), status.body)

    def _send_whole(self, code: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        if self.close_connection:  # RFC 9112, section 9.6: else a client may ask again on it, to no answer
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _let_body_come(self) -> None:
        if self._is_awaited:
            self.send_response_only(100)
            self.end_headers()

    def _drain_request(self) -> None:
        """Read what stands in the way of the next request, or let this be the last where the client still waits."""
        if self._is_awaited:
            self.close_connection = True
            return
        drain(request_body(self.headers, self.rfile))

    def _linger(self) -> None:
        """Take what a client sends that did not await the word to go on: closing on it would reset the answer away."""
        if self._is_awaited:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while self.connection.recv(1 << 16):
                continue

    def _cut(self) -> None:
        """End both connections: with a reset, unless the client is to get the part of the answer that was sent."""
        self.close_connection = True
        self._upstream.close()
        if self._has_body or (isinstance(self._fault, Disconnect) and self._fault.is_reset):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.rfile.close()
            self.connection.close()  # here: socketserver would send an orderly end first

    def _show_counters(self) -> None:
        traffic = self.server.hop.traffic
        if self.command == "DELETE":
            traffic.clear()
        self._send_whole(200, {"Content-Type": "application/json"}, traffic.to_json())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; `Traffic.requests` remembers."""
