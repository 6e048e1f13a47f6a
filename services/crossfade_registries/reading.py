"""Read a file of a source: whole, block by block, or its header."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from crossfade_core.checkpoint import LENGTH_BYTES, ShardHeader, header_length, parse_header
from crossfade_core.ports import FileInfo, Source, Span, StagedFile

_BLOCK_BYTES: Final = 1 << 20


def read_file(source: Source, info: FileInfo) -> bytes:
    """Return the whole of a small file.

    Raises:
        SourceError: It cannot be read, or is shorter than `info` says.
    """
    content = bytearray(info.size_bytes)
    source.read_into(info.name, 0, memoryview(content))
    return bytes(content)


def read_in_blocks(source: Source, span: Span, memory: memoryview) -> Iterator[memoryview]:
    """Yield part of a file in blocks as large as `memory`, where each is valid until the next.

    Raises:
        SourceError: It cannot be read, or is shorter.
    """
    file, start, end = span
    for offset in range(start, end, len(memory)):
        block = memory[: end - offset]
        source.read_into(file, offset, block)
        yield block


def digest_file(source: Source, info: FileInfo, take: Callable[[memoryview], object] = lambda _: None) -> StagedFile:
    """Read a file once, a MiB at a time, which `take` may have; return its size and SHA-256.

    Raises:
        SourceError: It cannot be read, or is shorter than `info` says.
    """
    span = (info.name, 0, info.size_bytes)
    source.expect([span])
    digest = hashlib.sha256()
    for block in read_in_blocks(source, span, memoryview(bytearray(_BLOCK_BYTES))):
        digest.update(block)
        take(block)
    return StagedFile(info.size_bytes, digest.hexdigest())


def read_header(source: Source, info: FileInfo) -> ShardHeader:
    """Read the header of one safetensors file.

    Raises:
        CheckpointError: It is malformed.
        SourceError: It cannot be read.
    """
    prefix = bytearray(min(LENGTH_BYTES, info.size_bytes))
    source.read_into(info.name, 0, memoryview(prefix))
    raw = bytearray(header_length(bytes(prefix), info.name, info.size_bytes))
    source.read_into(info.name, LENGTH_BYTES, memoryview(raw))
    return parse_header(bytes(raw), info.name, info.size_bytes)
