"""Write one file on its way to a Hub: to local scratch first, then up, as soon as its digest is known."""

import contextlib
from collections.abc import Callable

from crossfade_core.errors import SinkUnavailable
from crossfade_core.ports import StagedFile
from crossfade_registries.hub.scratch import ScratchFile


class HubFileWriter:
    """A file in scratch, until it is finished or abandoned.

    Args:
        file: Its name.
        size_bytes: Size it must have.
        scratch: Where it is written; closed here.
        send: Takes what was written to the Hub.
    """

    def __init__(
        self, file: str, size_bytes: int, scratch: ScratchFile, send: Callable[[ScratchFile, StagedFile], None]
    ) -> None:
        self._file, self._size_bytes = file, size_bytes
        self._scratch = scratch
        self._send = send

    def write(self, buffer: memoryview) -> None:
        """Append all of `buffer`.

        Raises:
            SinkUnavailable: Scratch is full.
        """
        self._scratch.write(buffer)

    def finish(self, sha256: str) -> None:
        """Send the file to the Hub, which shows it to nobody yet, and give its scratch back.

        Args:
            sha256: Hex SHA-256 of all that was written; it is what the Hub is told and checks, not computed here.

        Raises:
            SinkUnavailable: Fewer or more bytes than announced were written, or the Hub is away.
            SinkError: The Hub refused, or received other bytes.
        """
        with contextlib.closing(self._scratch) as scratch:  # sent or not, nothing is written to it any more
            if scratch.written_bytes != self._size_bytes:
                raise SinkUnavailable(
                    f"{self._file}: {scratch.written_bytes} bytes written, {self._size_bytes} announced",
                    file=self._file,
                )
            with scratch.sending():
                self._send(scratch, StagedFile(self._size_bytes, sha256))

    def abandon(self) -> None:
        """Give the scratch back."""
        self._scratch.close()
