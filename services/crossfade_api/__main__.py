"""`python -m crossfade_api`: serve the API with uvicorn until SIGINT or SIGTERM."""

import contextlib
import sys
import threading
from types import FrameType
from typing import Final

import uvicorn
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
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after it has shut down
        _Server(config, app.state.stopping).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
