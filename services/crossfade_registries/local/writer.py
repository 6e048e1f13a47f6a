"""Write one staged file, past the page cache where that works, and make it durable before it takes its name.

Why O_DIRECT: writing a sweep through the page cache costs several times the CPU and, with fsync, several times the wall
clock (docs/performance.md). It needs block-aligned buffers and offsets; what does not fit is written the usual way.
"""

import contextlib
import errno
import fcntl
import os
import secrets

from crossfade_core.errors import SinkUnavailable
from crossfade_registries.disk_refusal import disk_refusal
from crossfade_registries.local.folders import descend

DIRECT_BLOCK_BYTES = 4096
"""Alignment that satisfies O_DIRECT on every file system in use (open(2): the logical block size, at most 4 KiB)."""


class LocalFileWriter:
    """A file under a temporary name in a job's staging folder, until it is finished.

    Args:
        job: Descriptor of that folder; duplicated here.
        output: Name of the folder in it that the file goes to on `finish`.
        file: Name it takes then.
        size_bytes: Size it must have then.
        place: What messages call it: its path once published.
        direct: Whether to try O_DIRECT.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, job: int, output: str, file: str, size_bytes: int, *, place: str, direct: bool) -> None:
        self._part, self._output, self._file = f".{secrets.token_hex(8)}.part", output, file
        self._size_bytes, self._written, self._place = size_bytes, 0, place
        self._job = os.dup(job)
        self._direct = direct and size_bytes >= DIRECT_BLOCK_BYTES
        self._is_open = True
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._part, flags, 0o644, dir_fd=self._job)
        except OSError:
            os.close(self._job)
            raise
        if self._direct:
            self._direct = self._set_direct(on=True)

    def write(self, buffer: memoryview) -> None:
        """Append all of `buffer`.

        Raises:
            SinkUnavailable: The file system refused.
        """
        done = 0
        while done < len(buffer):
            try:
                done += os.write(self._descriptor, buffer[done:])
            except OSError as error:
                if error.errno == errno.EINVAL and self._direct:  # the buffer's place or length is not aligned for it
                    self._direct = self._set_direct(on=False)
                    continue
                raise self._refused(error) from error
        self._written += done

    def finish(self, sha256: str) -> None:
        """Sync the file, give it its name, and make that durable too; a file system keeps what it is given: no digest.

        Raises:
            SinkUnavailable: Fewer or more bytes than announced were written, the output is published or discarded
                already, or the file system refused.
        """
        if self._written != self._size_bytes:
            raise SinkUnavailable(f"{self._file}: {self._written} bytes written, {self._size_bytes} announced")
        try:
            os.fsync(self._descriptor)
            with descend(self._job, [self._output], create=False) as staged:
                os.rename(self._part, self._file, src_dir_fd=self._job, dst_dir_fd=staged)
                os.fsync(staged)
        except OSError as error:
            raise self._refused(error) from error
        self._close()

    def abandon(self) -> None:
        """Remove the unfinished file; does nothing after `finish`."""
        if self._is_open:
            with contextlib.suppress(OSError):
                os.unlink(self._part, dir_fd=self._job)
            self._close()

    def _close(self) -> None:
        self._is_open = False
        os.close(self._descriptor)
        os.close(self._job)

    def _set_direct(self, *, on: bool) -> bool:
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
        except OSError:
            return False
        return on

    def _refused(self, error: OSError) -> SinkUnavailable:
        return disk_refusal(
            error, f"{self._place}: writing failed after {self._written} bytes: {error.strerror}", file=self._file
        )
