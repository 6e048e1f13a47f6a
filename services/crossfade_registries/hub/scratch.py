"""Local disk for shards on their way to a Hub, which wants to know a file's digest before its first byte.

A scratch file has no name: whatever ends the process gives its room back.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from crossfade_core.errors import ScratchTooSmall, SinkUnavailable
from crossfade_registries.disk_refusal import disk_refusal
from crossfade_registries.turn import Turn


class Scratch:
    """A folder for scratch files.

    Args:
        folder: Where; must exist.
        units_at_once: How many units of work share it.
        turn: Taken to fill a file.
    """

    def __init__(self, folder: Path, units_at_once: int, turn: Turn | None = None) -> None:
        self._folder = folder
        self._units_at_once = units_at_once
        self._turn = turn or Turn(None)

    def needed_bytes(self, file_bytes: int, files: int) -> int:
        """Return what the units under way at once need, each holding `files` files of `file_bytes`."""
        return self._units_at_once * files * file_bytes

    def check_room(self, file_bytes: int, files: int) -> None:
        """Hold what the units under way at once may need against the disk's free room.

        What other units hold at this moment counts as taken.

        Args:
            file_bytes: Size of one file.
            files: How many of them one unit holds at once.

        Raises:
            ScratchTooSmall: It is less.
            SinkUnavailable: The folder is not there.
        """
        needed_bytes = self.needed_bytes(file_bytes, files)
        try:
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise self._refused(error) from error
        if needed_bytes > free_bytes:
            raise ScratchTooSmall(
                f"scratch {self._folder}: {needed_bytes} bytes needed ({self._units_at_once} units at once × {files} "
                f"files × {file_bytes} bytes), {free_bytes} free; ask for smaller shards or fewer λ at once, lower "
                "units_at_once, or let scratch be a folder on a larger disk",
                needed_bytes=needed_bytes,
                free_bytes=free_bytes,
                scratch=str(self._folder),
            )

    def create(self, size_bytes: int) -> "ScratchFile":
        """Make a file and reserve its room.

        Raises:
            SinkUnavailable: The disk is full, or the folder is not there.
        """
        try:
            return ScratchFile(self._folder, size_bytes, self._turn)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> SinkUnavailable:
        return disk_refusal(error, f"scratch {self._folder}: {error.strerror}", scratch=str(self._folder))


class ScratchFile:
    """One file without a name; made by `Scratch.create`.

    Args:
        folder: Where.
        size_bytes: How much room to reserve.
        turn: Taken to fill it.

    Raises:
        OSError: There is none.
    """

    def __init__(self, folder: Path, size_bytes: int, turn: Turn) -> None:
        self._folder, self._turn = folder, turn
        self._size_bytes = size_bytes
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (the writer closes it)
        self.written_bytes = 0
        if size_bytes == 0:  # posix_fallocate(3) refuses nothing
            return
        try:
            os.posix_fallocate(self._file.fileno(), 0, size_bytes)
        except OSError:
            self._file.close()
            raise

    @property
    def path(self) -> Path:
        """A path that this process, and no other, can open as long as the file is (proc_pid_fd(5))."""
        return Path(f"/proc/self/fd/{self._file.fileno()}")

    def write(self, buffer: memoryview) -> None:
        """Append all of `buffer`.

        Raises:
            SinkUnavailable: The disk refused.
        """
        self._turn.take(self._size_bytes)
        done = 0
        try:
            while done < len(buffer):
                done += self._file.write(buffer[done:]) or 0
        except OSError as error:
            folder = str(self._folder)
            raise disk_refusal(error, f"scratch {folder}: {error.strerror}", scratch=folder) from error
        self.written_bytes += done

    def sending(self) -> contextlib.AbstractContextManager[None]:
        """Say that what is within sends the file: the next unit may begin to fill."""
        return self._turn.sending()

    def close(self) -> None:
        """Give the room back."""
        self._file.close()
        self._turn.give_back()
