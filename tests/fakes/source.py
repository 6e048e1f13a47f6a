"""The `Source` port in memory: one over given bytes that can misbehave, one that makes up files of any size."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.errors import CrossfadeError, ShortRead, SourceNotFound, SourceUnavailable
from crossfade_core.ports import FileInfo, Span


class Read(NamedTuple):
    """One call of `read_into`."""

    file: str
    offset: int
    size_bytes: int


class MemorySource:
    """Files in memory. Records every read in `reads`, all that was announced in `expected`, and `is_closed`.

    What `unlisted` tells is put into `others`.

    Args:
        files: Content by name.
        uri: What it calls itself.
    """

    def __init__(self, files: Mapping[str, bytes], uri: str = "local://models/memory") -> None:
        self._uri = uri
        self._content = dict(files)
        self._versions = dict.fromkeys(files, 1)
        self._cuts: dict[str, int] = {}
        self._stated: dict[str, str] = {}
        self._failures: dict[str, tuple[int, BaseException]] = {}
        self.reads: list[Read] = []
        self.expected: list[Span] = []
        self.others: dict[str, str] = {}
        self.delay_seconds = 0.0
        self.is_closed = False

    def put(self, file: str, content: bytes) -> None:
        """Replace a file, or add one; its version changes."""
        self._content[file] = content
        self._versions[file] = self._versions.get(file, 0) + 1

    def cut(self, file: str, size_bytes: int) -> None:
        """Let the file end early, though `files` goes on to tell its full size."""
        self._cuts[file] = size_bytes

    def state_digest(self, file: str, sha256: str) -> None:
        """Let `files` state a digest, as registries do that know one."""
        self._stated[file] = sha256

    def fail_at(self, file: str, byte: int, error: BaseException | None = None) -> None:
        """Let every read that touches `byte` raise `error`, SourceUnavailable unless given."""
        self._failures[file] = byte, error or SourceUnavailable(f"{self._uri}/{file}: reading failed", file=file)

    def read_bytes(self, file: str | None = None) -> int:
        """Return how many bytes were read, of one file or of all."""
        return sum(read.size_bytes for read in self.reads if file in (None, read.file))

    @property
    def uri(self) -> str:
        return self._uri

    def files(self) -> Mapping[str, FileInfo]:
        return {
            name: FileInfo(name, len(content), str(self._versions[name]), self._stated.get(name))
            for name, content in self._content.items()
        }

    def unlisted(self) -> Mapping[str, str]:
        return self.others

    def expect(self, spans: Sequence[Span]) -> None:
        self.expected.extend(spans)

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        self.reads.append(Read(file, offset, len(buffer)))
        time.sleep(self.delay_seconds)
        if file not in self._content:
            raise SourceNotFound(f"{self._uri}: no file {file!r}", file=file)
        end = offset + len(buffer)
        byte, error = self._failures.get(file, (-1, CrossfadeError("never raised")))
        if offset <= byte < end:
            raise error
        present = memoryview(self._content[file])[: self._cuts.get(file)][offset:end]
        if len(present) < len(buffer):
            raise ShortRead(
                f"{self._uri}/{file}: wanted {len(buffer)} bytes at {offset}, got {len(present)}", file=file
            )
        buffer[:] = present

    def close(self) -> None:
        self.is_closed = True


class EndlessSource:
    """A `model.safetensors` of any size that exists nowhere: a header, then one pattern over and over.

    Args:
        tensors: Their dtypes and sizes by name, a size for each dimension.
        pattern: What the file repeats, counted from its beginning.
    """

    def __init__(self, tensors: Mapping[str, tuple[str, *tuple[int, ...]]], pattern: bytes) -> None:
        document, position = {}, 0
        for name, (dtype, *shape) in tensors.items():
            end = position + math.prod(shape) * DTYPE_BITS[dtype] // 8
            document[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
            position = end
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 8)  # so that the pattern's elements are the tensors'
        self._header = len(text).to_bytes(8, "little") + text
        self._info = FileInfo("model.safetensors", len(self._header) + position, "1")
        self._pattern = memoryview(pattern * 2)

    @property
    def uri(self) -> str:
        return "local://models/endless"

    def files(self) -> Mapping[str, FileInfo]:
        return {self._info.name: self._info}

    def unlisted(self) -> Mapping[str, str]:
        return {}

    def expect(self, spans: Sequence[Span]) -> None:
        pass

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        if file != self._info.name or offset + len(buffer) > self._info.size_bytes:
            raise ShortRead(f"{self.uri}/{file}: no {len(buffer)} bytes at {offset}", file=file)
        head = self._header[offset : offset + len(buffer)]
        buffer[: len(head)] = head
        period = len(self._pattern) // 2
        position = len(head)
        while position < len(buffer):
            part = self._pattern[(offset + position) % period :][: min(period, len(buffer) - position)]
            buffer[position : position + len(part)] = part
            position += len(part)

    def close(self) -> None:
        pass
