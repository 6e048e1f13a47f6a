"""Where a rebuilt output goes: nowhere. Each block is held against the published one; the first other byte ends it all.

Memory held: one block of the published file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from crossfade_core.ports import Source, StagedFile

_SEEN_BYTES: Final = 16
"""Bytes shown on either side of the first difference: more than an element has."""


@dataclass(frozen=True)
class OtherBytes:
    """Where a published file first differs from its rebuilt like.

    Attributes:
        file: The file.
        offset: Of the first byte that differs; None where the two are of different sizes, or one is not there.
        start: Of the bytes shown.
        published: What the published file holds there.
        rebuilt: What was computed.
    """

    file: str
    offset: int | None = None
    start: int = 0
    published: bytes = b""
    rebuilt: bytes = b""


class DifferenceError(Exception):
    """The first difference was found, and the pass has nothing more to find out."""

    def __init__(self, found: OtherBytes) -> None:
        super().__init__(found.file)
        self.found = found


class ComparingFiles:
    """Stands in a sink's place.

    Args:
        published: The output.
        files: Its files, as its lineage tells them; they are there, and of these sizes.
    """

    def __init__(self, published: Source, files: Mapping[str, StagedFile]) -> None:
        self._published, self._files = published, files

    def create_file(self, name: str, file: str, size_bytes: int) -> "ComparingWriter":
        """Begin to compare a file; `name` is of no meaning here.

        Raises:
            DifferenceError: The output has no such file, or one of another size.
        """
        if file not in self._files or self._files[file].size_bytes != size_bytes:
            raise DifferenceError(OtherBytes(file))
        self._published.expect([(file, 0, size_bytes)])
        return ComparingWriter(self._published, file)


class ComparingWriter:
    """Compares what is written with what is published, front to back.

    Args:
        published: The output.
        file: Its file.
    """

    def __init__(self, published: Source, file: str) -> None:
        self._published, self._file = published, file
        self._offset = 0
        self._block = bytearray()

    def write(self, buffer: memoryview) -> None:
        """Compare the next bytes.

        Raises:
            DifferenceError: They differ.
            SourceError: The published file cannot be read.
        """
        if len(self._block) < len(buffer):
            self._block = bytearray(len(buffer))
        published = memoryview(self._block)[: len(buffer)]
        self._published.read_into(self._file, self._offset, published)
        is_other = np.frombuffer(published, np.uint8) != np.frombuffer(buffer, np.uint8)
        if is_other.any():
            first = int(is_other.argmax())
            seen = slice(max(0, first - _SEEN_BYTES), first + _SEEN_BYTES)
            raise DifferenceError(
                OtherBytes(
                    self._file,
                    self._offset + first,
                    self._offset + seen.start,
                    bytes(published[seen]),
                    bytes(buffer[seen]),
                )
            )
        self._offset += len(buffer)

    def finish(self, sha256: str) -> None:
        """Nothing to do: the digest is the pass's result."""

    def abandon(self) -> None:
        """Let go of the block."""
        self._block = bytearray()
