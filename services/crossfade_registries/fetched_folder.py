"""A folder that appears in one step, when every file in it is verified; what is fetched before waits beside it.

PARENT/.NAME.fetch-…    what is fetched so far of one URI; the next attempt goes on with it
PARENT/NAME             the whole of it, by one rename
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from io import FileIO
from pathlib import Path
from typing import Final

from crossfade_core.errors import OutputExists, OutputNameUnsafe, SinkUnavailable, SourceCorrupted
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import Source, StagedFile
from crossfade_registries.disk_refusal import disk_refusal
from crossfade_registries.local.folders import exists
from crossfade_registries.local.rename import exchange, rename_exclusive
from crossfade_registries.reading import read_in_blocks

CHUNK_BYTES: Final = 8 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Tick = Callable[[int], None]
"""Told how many more bytes are there and hashed; fewer than none where they turned out wrong."""


class FetchedFolder:
    """A folder being fetched; a context manager that holds it against other processes. Memory: one chunk of 8 MiB.

    Args:
        out: The folder, absolute.
        uri: What is fetched: of another URI nothing is taken over.
        overwrite: Whether an output that is there is replaced.
    """

    def __init__(self, out: Path, uri: str, *, overwrite: bool) -> None:
        self._out, self._overwrite = out, overwrite
        self._waiting = f".{out.name}.fetch-{hashlib.sha256(uri.encode()).hexdigest()[:12]}"
        self._parent = self._folder = -1
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "FetchedFolder":
        """Make the folder that waits, or open it again.

        Raises:
            OutputExists: There is something in its place, and it is not to be replaced.
            OutputNameUnsafe: It is to be, and is no output.
            SinkUnavailable: The disk refused, or another process fetches the same.
        """
        with contextlib.ExitStack() as opened, self._errors():
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._parent = _open(opened, self._out.parent)
            self.check_free()
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._waiting, dir_fd=self._parent)
            self._folder = _open(opened, self._waiting, self._parent)
            self._lock()
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it; what is fetched stays."""
        self._closing.close()

    def check_free(self) -> None:
        """See that nothing is in the folder's place that may not be replaced.

        Raises:
            OutputExists: There is, and nothing is to be replaced.
            OutputNameUnsafe: What is there is no output: only outputs are replaced.
        """
        if self._out.name and not exists(self._parent, self._out.name):
            return
        if not self._overwrite or not self._out.name:
            raise OutputExists(f"{self._out} exists; choose another folder, or --overwrite", output=str(self._out))
        with contextlib.ExitStack() as opened, contextlib.suppress(NotADirectoryError):
            if exists(_open(opened, self._out.name, self._parent), LINEAGE_FILE):
                return
        raise OutputNameUnsafe(
            f"{self._out} is no earlier output, it holds no {LINEAGE_FILE}; only outputs are replaced: choose another "
            "folder",
            output=str(self._out),
        )

    def fetch(self, source: Source, name: str, staged: StagedFile, tick: Tick) -> None:
        """Fetch one file, or the rest of it, and hold all of it against size and digest.

        Raises:
            SourceError: It cannot be read; what came stays.
            SourceCorrupted: It is not what was published; nothing of it stays.
            SinkUnavailable: The disk refused.
        """
        with self._errors(), open(os.open(name, _FILE, 0o644, dir_fd=self._folder), "r+b", buffering=0) as file:
            if file.seek(0, os.SEEK_END) > 0:
                if self._complete(file, source, name, staged.size_bytes, tick) == staged.sha256:
                    return
                tick(-staged.size_bytes)  # what waited was not of this file: once more, from its beginning
                file.truncate(0)
            found = self._complete(file, source, name, staged.size_bytes, tick)
            if found != staged.sha256:
                os.unlink(name, dir_fd=self._folder)
                raise SourceCorrupted(
                    f"{source.uri}/{name}: SHA-256 {staged.sha256} expected by {LINEAGE_FILE}, {found} found; if it "
                    "happens again, what is published there is damaged: make it again",
                    source=source.uri,
                    file=name,
                )

    def fetch_loose(self, source: Source, name: str, size_bytes: int, tick: Tick) -> str:
        """Fetch a small file of which nobody has told the digest, anew each time; return the digest.

        Raises:
            SourceError: It cannot be read.
            SinkUnavailable: The disk refused.
        """
        with self._errors(), open(os.open(name, _FILE, 0o644, dir_fd=self._folder), "r+b", buffering=0) as file:
            file.truncate(0)
            return self._complete(file, source, name, size_bytes, tick)

    def commit(self, lineage: bytes, files: Collection[str]) -> None:
        """Add the lineage, drop what is none of `files`, and let the folder appear.

        Raises:
            OutputExists, OutputNameUnsafe: As for `check_free`.
            SinkUnavailable: The disk refused.
        """
        with self._errors():
            with os.scandir(self._folder) as entries:
                strays = [entry.name for entry in entries if entry.name not in files]
            for stray in strays:
                os.unlink(stray, dir_fd=self._folder)
            with open(os.open(LINEAGE_FILE, _FILE, 0o644, dir_fd=self._folder), "wb") as file:
                file.write(lineage)
                file.flush()
                os.fsync(file.fileno())
            os.fsync(self._folder)
            self.check_free()
            self._appear()
            os.fsync(self._parent)

    def _appear(self) -> None:
        waiting, name = self._waiting, self._out.name
        if not exists(self._parent, name):
            try:
                rename_exclusive(waiting, name, source_fd=self._parent, target_fd=self._parent)
            except FileExistsError as error:
                raise OutputExists(f"{self._out} was made meanwhile; choose another folder") from error
            return
        exchange(waiting, name, source_fd=self._parent, target_fd=self._parent)
        shutil.rmtree(waiting, dir_fd=self._parent)

    def _complete(self, file: FileIO, source: Source, name: str, size_bytes: int, tick: Tick) -> str:
        """Hash what waits of a file, fetch what lacks, make it durable; return the digest of all."""
        digest, memory, done = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES)), 0
        file.seek(0)
        if os.fstat(file.fileno()).st_size > size_bytes:
            file.truncate(0)
        while count := file.readinto(memory):
            digest.update(memory[:count])
            done += count
            tick(count)
        rest = (name, done, size_bytes)
        source.expect([rest] if done < size_bytes else [])
        for chunk in read_in_blocks(source, rest, memory):
            _write_all(file, chunk)
            digest.update(chunk)
            tick(len(chunk))
        os.fsync(file.fileno())
        return digest.hexdigest()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SinkUnavailable(f"{self._out}: another process fetches it; wait for that one") from error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk_refusal(error, f"{self._out}: {error.strerror}", output=str(self._out)) from error


def _open(opened: contextlib.ExitStack, folder: str | Path, below: int | None = None) -> int:
    flags = _FOLDER if below is not None else _FOLDER & ~os.O_NOFOLLOW
    descriptor = os.open(folder, flags, dir_fd=below)
    opened.callback(os.close, descriptor)
    return descriptor


def _write_all(file: FileIO, chunk: memoryview) -> None:
    done = 0
    while done < len(chunk):
        done += file.write(chunk[done:]) or 0
