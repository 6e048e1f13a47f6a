"""`python -m crossfade_api`: serve the API with uvicorn until SIGINT or SIGTERM."""

import contextlib
import sys

from pydantic import ValidationError

from crossfade_api.logs import configure_logging
from crossfade_api.processes import serve_in_processes
from crossfade_api.server import serve, serve_port, take_port
from crossfade_api.settings import ApiSettings
from crossfade_stores.settings import describe_invalid


def main() -> int:
    """Serve; return the exit code: 2 when the settings are wrong, 1 when one of several processes ended by itself.

    After SIGTERM the process shuts down and then dies by that signal; without the port uvicorn exits with 3.
    """
    try:
        settings = ApiSettings.from_environment()
    except ValidationError as error:
        sys.stderr.write(f"crossfade_api: cannot start: {describe_invalid(error)}\n")
        return 2
    if settings.api_processes == 1:
        serve(settings)
        return 0
    configure_logging()
    with contextlib.suppress(KeyboardInterrupt):  # raised again after all have ended
        return serve_in_processes(settings.api_processes, serve_port, take_port(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
