"""The plainest HTTP server there is to put a proxy in front of: it keeps what is PUT and gives it back."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_BLOCK = bytes(1 << 20)


class PlainOrigin(ThreadingHTTPServer):
    """A context manager. `/zeros/N` has N bytes of body; what is PUT under `/chunked/` is given back in chunks.

    `heard` lists method, target and headers of each request, `connections` counts.
    """

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.kept: dict[str, bytes] = {}
        self.heard: list[tuple[str, str, list[tuple[str, str]]]] = []
        self.connections = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="plain origin")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: PlainOrigin

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_PUT(self) -> None:
        self._hear()
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self._counted(int(self.headers["Content-Length"]))
        self.server.kept[self.path] = body
        self._send(b"kept")

    def do_GET(self) -> None:
        self._hear()
        if self.path.startswith("/zeros/"):
            self._send_zeros(int(self.path.rpartition("/")[2]))
        elif self.path.startswith("/chunked/"):
            self._send_in_chunks(self.server.kept[self.path])
        else:
            self._send(self.server.kept.get(self.path, b""))

    do_HEAD = do_GET  # noqa: N815 -- http.server's name

    def _hear(self) -> None:
        self.server.heard.append((self.command, self.path, list(self.headers.items())))

    def _counted(self, size_bytes: int) -> bytes:
        body = self.rfile.read(size_bytes)
        if len(body) < size_bytes:
            raise ConnectionError
        return body

    def _chunks(self) -> list[bytes]:
        found = []
        while size_bytes := int(self.rfile.readline(), 16):
            found.append(self._counted(size_bytes))
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _start(self, *fields: tuple[str, str]) -> None:
        self.send_response(200)
        for name, value in (("X-Twice", "1"), ("X-Twice", "2"), ("ETag", '"e"'), *fields):
            self.send_header(name, value)
        self.end_headers()

    def _send(self, body: bytes) -> None:
        self._start(("Content-Length", str(len(body))))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_in_chunks(self, body: bytes) -> None:
        self._start(("Transfer-Encoding", "chunked"))
        half = len(body) // 2
        for chunk in (body[:half], body[half:], b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def _send_zeros(self, size_bytes: int) -> None:
        self._start(("Content-Length", str(size_bytes)))
        for start in range(0, size_bytes, len(_BLOCK)):
            self.wfile.write(_BLOCK[: size_bytes - start])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; `PlainOrigin.heard` remembers."""
