"""Run the API with uvicorn on one port, in this process, until it is told to stop."""

import contextlib
import gc
import socket
import threading
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from crossfade_api.app import create_app
from crossfade_api.logs import configure_logging
from crossfade_api.settings import ApiSettings

GRACE_SECONDS: Final = 10
"""How long requests under way may take after a signal; planning a large pair is a few seconds."""


class _Server(uvicorn.Server):
    """Ends event streams as soon as a signal comes: uvicorn alone would wait for readers to go away by themselves."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded by now stays: to look through all of it for garbage again and again took half of the time of
        # a busy process.
        gc.collect()
        gc.freeze()


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """Return how uvicorn is to serve an application."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def serve(settings: ApiSettings, port: socket.socket | None = None) -> None:
    """Serve on the port of the settings, or on one that is taken already; ends by the signal that stops it."""
    configure_logging()
    app = create_app(settings)
    config = server_config(app, settings.api_host, settings.api_port)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after it has shut down
        _Server(config, app.state.stopping).run(None if port is None else [port])


def serve_port(port: socket.socket) -> None:
    """Serve on a port, with the settings of the environment."""
    serve(ApiSettings.from_environment(), port)


def take_port(settings: ApiSettings) -> socket.socket:
    """Return the port of the settings, bound.

    Raises:
        SystemExit: Another process has it; uvicorn has logged that.
    """
    port = uvicorn.Config("", host=settings.api_host, port=settings.api_port, log_config=None).bind_socket()
    # Connections inherit it. asyncio sets it on sockets of its own only; without, a body waits 40 ms for the client to
    # acknowledge the headers.
    port.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return port
