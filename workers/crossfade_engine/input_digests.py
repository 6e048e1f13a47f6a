"""SHA-256 of the parents' files, from the bytes that the pass reads anyway wherever it reads a file front to back.

A file may be read by several output shards in turn, where the parents are cut differently: a process that streams them
all in order carries its digest from one to the next. What is not read front to back is read once more. Where the
registry states a digest, it must be the computed one.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from crossfade_core.checkpoint import LENGTH_BYTES, MAX_HEADER_BYTES
from crossfade_core.errors import SourceCorrupted
from crossfade_core.plan import ShardPlan
from crossfade_core.ports import FileInfo, Source
from crossfade_core.spec import Role
from crossfade_engine.chunks import reads_of
from crossfade_engine.slot import Slot
from crossfade_engine.streams import Scratch

_HASH_BYTES: Final = 1 << 20

_File = tuple[Role, str]


class InputDigests:
    """The digests that some shards owe, streamed in the order given by one process.

    Args:
        shards: The shards, in order.
        sources: The parents.
        files: Their files, as planned.
    """

    def __init__(
        self,
        shards: Sequence[ShardPlan],
        sources: Mapping[Role, Source],
        files: Mapping[Role, Mapping[str, FileInfo]],
    ) -> None:
        self._sources, self._files = sources, files
        self._begun: dict[_File, PassDigest] = {}
        self._starts: dict[_File, int] = {}
        self._readers: dict[_File, list[str]] = {}
        held = _reads_by_file(shards)
        for role, file in {(role, file) for shard in shards for role, owed in shard.owed.items() for file in owed}:
            found = held.get((role, file), [])
            start = _sequential_start([span for _, *span in found], files[role][file].size_bytes)
            if start is not None:
                self._starts[role, file] = start
                self._readers[role, file] = list(dict.fromkeys(shard for shard, _, _ in found))

    def streams(self, shard: ShardPlan, chunk_count: int) -> "dict[_File, PassDigest | RereadDigest]":
        """Return the digests that go on, begin or are made while `shard` streams, in `chunk_count` chunks."""
        found: dict[_File, PassDigest | RereadDigest] = {}
        for (role, file), readers in self._readers.items():
            if shard.file in readers:
                if (role, file) not in self._begun:
                    self._begun[role, file] = PassDigest(self._sources[role], file, self._starts[role, file], role)
                found[role, file] = self._begun[role, file]
        for role, held in shard.owed.items():
            for file in held:
                if (role, file) not in self._starts:
                    size_bytes = self._files[role][file].size_bytes
                    found[role, file] = RereadDigest(self._sources[role], file, size_bytes, chunk_count)
        return found

    def known(
        self, shard: ShardPlan, streams: "Mapping[_File, PassDigest | RereadDigest]"
    ) -> dict[Role, dict[str, str]]:
        """Return the hex digests that are known once `shard` has streamed, by role and file.

        Raises:
            SourceCorrupted: One is not what the registry states.
        """
        known: dict[Role, dict[str, str]] = {role: {} for role in self._sources}
        for (role, file), stream in streams.items():
            if (role, file) not in self._readers or self._readers[role, file][-1] == shard.file:
                known[role][file] = stream.sha256
                self._check(role, self._files[role][file], stream.sha256)
        return known

    def _check(self, role: Role, info: FileInfo, sha256: str) -> None:
        if info.sha256 not in (None, sha256):
            uri = self._sources[role].uri
            raise SourceCorrupted(
                f"{uri}/{info.name}: the bytes that came have the SHA-256 {sha256}, the registry states {info.sha256}; "
                "if it happens again, upload the file again",
                source=uri,
                file=info.name,
            )


class ParentDigest:
    """SHA-256 of one file of a parent, front to back.

    Args:
        source: The parent.
        file: The file.
    """

    def __init__(self, source: Source, file: str) -> None:
        self._source, self._file = source, file
        self._digest = hashlib.sha256()
        self._read_bytes = 0

    @property
    def sha256(self) -> str:
        """Hex digest of all that was hashed so far."""
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Nothing to do: a digest holds no resource."""

    def read_to(self, end: int, buffer: memoryview) -> None:
        """Read and hash on from where the last call ended up to byte `end`, one `buffer` at a time."""
        while self._read_bytes < end:
            part = buffer[: end - self._read_bytes]
            self._source.read_into(self._file, self._read_bytes, part)
            self._digest.update(part)
            self._read_bytes += len(part)


class PassDigest(ParentDigest):
    """The digest of a file that the pass reads front to back, from the bytes it reads anyway.

    Args:
        source: The parent.
        file: The file.
        start: Where the pass begins to read it; what lies before (its header) is read with the first chunk.
        role: Which parent.
    """

    def __init__(self, source: Source, file: str, start: int, role: Role) -> None:
        super().__init__(source, file)
        self._start, self._role = start, role

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Hash the file's bytes of the chunk; before the first, those in front of it."""
        self.read_to(self._start, scratch.out.bytes)
        buffer = slot.parents[self._role]
        for run in slot.runs[self._role]:
            if run.file == self._file:
                self._digest.update(buffer.bytes[run.offset : run.offset + run.size_bytes])
        return 0


class RereadDigest(ParentDigest):
    """The digest of a file that the pass does not read front to back: read once more, a share with every chunk.

    Args:
        source: The parent.
        file: The file.
        size_bytes: Its size.
        chunk_count: How many chunks the pass has.
    """

    def __init__(self, source: Source, file: str, size_bytes: int, chunk_count: int) -> None:
        super().__init__(source, file)
        self._size_bytes, self._chunk_count = size_bytes, chunk_count

    def consume(self, slot: Slot, scratch: Scratch) -> int:
        """Hash the file's next share, once there is a block of it: a read may be a request over the network."""
        number = slot.chunk.index + 1
        end = self._size_bytes * number // self._chunk_count
        if end - self._read_bytes >= _HASH_BYTES or number == self._chunk_count:
            self.read_to(end, scratch.out.bytes)
        return 0


def _reads_by_file(shards: Sequence[ShardPlan]) -> dict[_File, list[tuple[str, int, int]]]:
    """Return, for every parent's file, what passes over `shards` read of it into their slots: (shard, start, end)."""
    found: dict[_File, list[tuple[str, int, int]]] = {}
    for shard in shards:
        for role, (file, start, end) in reads_of(shard):
            found.setdefault((role, file), []).append((shard.file, start, end))
    return found


def _sequential_start(spans: Sequence[Sequence[int]], size_bytes: int) -> int | None:
    """Return where passes begin to read a file, if they read it front to back.

    Args:
        spans: The (start, end) bytes they read, in order.
        size_bytes: The file's size.

    Returns:
        The first byte read, or None when the passes jump, leave more than a header's length to others, end early, or
        read no tensor of it.
    """
    if not spans or spans[-1][1] != size_bytes or spans[0][0] > LENGTH_BYTES + MAX_HEADER_BYTES:
        return None
    follows = all(after[0] == before[1] for before, after in itertools.pairwise(spans))
    return spans[0][0] if follows else None
