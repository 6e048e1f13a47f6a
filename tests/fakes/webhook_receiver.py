"""A webhook's receiver over real HTTP, or HTTPS: remembers what came, answers as it is told, misbehaves on request."""

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class WebhookReceiver:
    """A context manager that serves on loopback.

    Args:
        certificate: A PEM file with key and certificate, for HTTPS.
        port: 0 for any that is free.
    """

    def __init__(self, certificate: Path | None = None, port: int = 0) -> None:
        self.received: list[Received] = []
        self.statuses: list[int] = []
        """What to answer, in turn; 204 once they are used up."""
        self.headers: dict[str, str] = {}
        self.before_answer: Callable[[BaseHTTPRequestHandler], bool] | None = None
        """Called before an answer; True where it has answered in its own way."""
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._note(Received(self.path, {name.lower(): text for name, text in self.headers.items()}, body))
                if receiver.before_answer is not None and receiver.before_answer(self):
                    return
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                for name, text in receiver.headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 (the name that http.server calls)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self.port = self._server.server_port
        self.url = f"{self.scheme}://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for(self, count: int, timeout_seconds: float = 30) -> list[Received]:
        """Return what came, once there are so many."""
        deadline = time.monotonic() + timeout_seconds
        with self._arrived:
            while len(self.received) < count:
                assert self._arrived.wait(max(deadline - time.monotonic(), 0.001)), (
                    f"{len(self.received)} of {count} came"
                )
            return list(self.received)

    def _note(self, received: Received) -> None:
        with self._arrived:
            self.received.append(received)
            self._arrived.notify_all()
