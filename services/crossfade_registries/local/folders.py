"""Walk and make folders by descriptor, one component at a time, never through a symbolic link."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

_ATTEMPTS: Final = 10
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def descend(start: int, parts: Sequence[str], *, create: bool) -> Iterator[int]:
    """Open the folder `parts` below the descriptor `start`, made (and durable) on the way where asked.

    Raises:
        FileNotFoundError: A part is missing and nothing is to be made.
        NotADirectoryError: A part is a file or a symbolic link.
        OSError: Any other failure, as open(2) and mkdir(2).
    """
    current = _open_below(start, parts, create=create)
    try:
        yield current
    finally:
        os.close(current)


def exists(folder: int, name: str) -> bool:
    """Tell whether `folder` holds anything called `name`, be it a link that points nowhere."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def write_synced(folder: int, name: str, text: str) -> None:
    """Write a small file and make it and its name durable."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    os.fsync(folder)


def _open_below(start: int, parts: Sequence[str], *, create: bool) -> int:
    for attempt in range(_ATTEMPTS):
        current = os.dup(start)
        try:
            for part in parts:
                if create:
                    _make(current, part)
                below = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = below
        except OSError as error:
            os.close(current)
            # Another job's discard may remove the empty staging folder between our mkdir and open.
            if isinstance(error, FileNotFoundError) and create and attempt < _ATTEMPTS - 1:
                continue
            raise
        return current
    raise AssertionError("unreachable: the last descent returns or raises")


def _make(folder: int, name: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=folder)
        os.fsync(folder)
