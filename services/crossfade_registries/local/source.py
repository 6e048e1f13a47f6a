"""Read a checkpoint's folder below a configured root; links may point around inside the root, never out of it."""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from crossfade_core.errors import PathOutsideRoot, ShortRead, SourceError, SourceNotFound, SourceUnavailable
from crossfade_core.ports import FileInfo, Span

_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG})
"""What the kernel says of a path that leads nowhere, or nowhere for us; anything else may pass by trying again."""


class LocalSource:
    """A folder of files, read with positioned reads through one descriptor a file.

    Args:
        root: The configured root.
        path: The checkpoint's folder below it.
        uri: What the job calls it.

    Raises:
        SourceNotFound: There is no such folder, or it may not be read.
        PathOutsideRoot: A symbolic link leads out of the root.
        SourceUnavailable: The file system failed.
    """

    def __init__(self, root: Path, path: str, uri: str) -> None:
        self._uri = uri
        self._root = os.path.realpath(root)
        self._folder = Path(self._root, path)
        self._descriptors: dict[str, int] = {}
        self._lock = threading.Lock()
        self._under_way = 0
        self._is_closed = False
        os.close(self._open_folder())

    @property
    def uri(self) -> str:
        """The URI the job gave."""
        return self._uri

    def files(self) -> Mapping[str, FileInfo]:
        """Return the regular files at the top of the folder, by name.

        Raises:
            SourceNotFound: The folder is gone.
            PathOutsideRoot: It has become a link out of the root.
            SourceUnavailable: The file system failed.
        """
        found = [info for info, _ in self._entries().values() if info is not None]
        return {info.name: info for info in sorted(found, key=lambda info: info.name)}

    def unlisted(self) -> Mapping[str, str]:
        """Return everything else at the top of the folder, by name.

        Raises:
            SourceNotFound: The folder is gone.
            PathOutsideRoot: It has become a link out of the root.
            SourceUnavailable: The file system failed.
        """
        return {name: what for name, (info, what) in sorted(self._entries().items()) if info is None}

    def expect(self, spans: Sequence[Span]) -> None:
        """Nothing to do: the kernel reads ahead."""

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of `file`: all of it, or an error.

        A single read returns at most 2 147 479 552 bytes on Linux (read(2)), hence the loop.

        Raises:
            SourceNotFound: There is no such regular file.
            PathOutsideRoot: It is a link out of the root.
            ShortRead: The file ended first.
            SourceUnavailable: The file system failed.
        """
        with self._reading():
            self._read(self._descriptor(file), file, offset, buffer)

    def close(self) -> None:
        """Close every descriptor, the last read under way those it leaves; no other read begins."""
        with self._lock:
            self._is_closed = True
            self._close_unused()

    def _entries(self) -> dict[str, tuple[FileInfo | None, str]]:
        """Return what is at the top of the folder by name, and what it is where it is no file."""
        folder = self._open_folder()
        try:
            with os.scandir(folder) as entries:
                return {entry.name: (_describe(entry), _kind(entry)) for entry in entries}
        except OSError as error:
            raise self._failed(error, "its files cannot be listed") from error
        finally:
            os.close(folder)

    def _read(self, descriptor: int, file: str, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise self._failed(error, "reading failed", file) from error
            if count == 0:
                raise ShortRead(
                    f"{self._uri}/{file}: expected {len(buffer)} bytes at {offset}, the file ended after {done}; "
                    "it was cut while the job ran",
                    source=self._uri,
                    file=file,
                )
            done += count

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if self._is_closed:
                raise SourceError(f"{self._uri}: closed while it was read", source=self._uri)
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                self._close_unused()

    def _close_unused(self) -> None:
        while self._is_closed and not self._under_way and self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _descriptor(self, file: str) -> int:
        with self._lock:
            if file not in self._descriptors:
                self._descriptors[file] = self._open_file(file)
            return self._descriptors[file]

    def _open_file(self, file: str) -> int:
        if "/" in file or file in ("", ".", ".."):
            raise PathOutsideRoot(f"{self._uri}: {file!r} is no plain file name", source=self._uri, file=file)
        # Without O_NONBLOCK a named pipe put in a model's place would hang the worker for ever.
        descriptor = self._open(self._folder / file, os.O_NONBLOCK, "cannot be opened", file)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            # More read-ahead: a cold file comes two and a half times as fast (docs/performance.md).
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            return descriptor
        os.close(descriptor)
        raise SourceNotFound(f"{self._uri}/{file}: is no regular file; copy it again", source=self._uri, file=file)

    def _open_folder(self) -> int:
        return self._open(self._folder, os.O_DIRECTORY, "cannot be opened as a folder")

    def _open(self, path: Path, flags: int, failure: str, file: str | None = None) -> int:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        except OSError as error:
            raise self._failed(error, failure, file) from error
        # Asked of the open descriptor, not of the path: a link swapped in between cannot fool it.
        actual = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if actual == self._root or actual.startswith(self._root.rstrip("/") + "/"):
            return descriptor
        os.close(descriptor)
        raise PathOutsideRoot(
            f"{self._where(file)}: leads out of its root through a link; copy the files below the root",
            source=self._uri,
            file=file,
        )

    def _failed(self, error: OSError, failure: str, file: str | None = None) -> SourceError:
        kind = SourceNotFound if error.errno in _ABSENT else SourceUnavailable
        message = f"{self._where(file)}: {failure}: {error.strerror}; check the path and its rights"
        return kind(message, source=self._uri, file=file)

    def _where(self, file: str | None) -> str:
        return self._uri if file is None else f"{self._uri}/{file}"


def _describe(entry: os.DirEntry[str]) -> FileInfo | None:
    """Return what `entry` is, or None for a folder, a pipe, or a link that leads nowhere."""
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    if not stat.S_ISREG(status.st_mode):
        return None
    # The time of change, not of modification: tools that unpack or copy set the latter to what they like.
    return FileInfo(entry.name, status.st_size, f"{status.st_size}-{status.st_ctime_ns}-{status.st_ino}")


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "a symbolic link that leads to no file"
    return "a folder" if entry.is_dir() else "no plain file"
