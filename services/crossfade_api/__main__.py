"""`python -m crossfade_api`: serve the API with uvicorn until SIGINT or SIGTERM."""

import contextlib
import gc
import socket
import sys
import threading
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from crossfade_api.app import create_app
from crossfade_api.logs import configure_logging
from crossfade_api.settings import ApiSettings
from crossfade_stores.settings import describe_invalid

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
        # What is loaded by now stays: to look through all of it for garbage again and again takes half of a busy
        # process's time.
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


def main() -> int:
    """Serve; return the exit code: 2 when the settings are wrong.

    After SIGTERM the process shuts down and then dies by that signal; without the port uvicorn exits with 3.
    """
    try:
        settings = ApiSettings.from_environment()
    except ValidationError as error:
        sys.stderr.write(f"crossfade_api: cannot start: {describe_invalid(error)}\n")
        return 2
    configure_logging()
    app = create_app(settings)
    config = server_config(app, settings.api_host, settings.api_port)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after it has shut down
        _Server(config, app.state.stopping).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
