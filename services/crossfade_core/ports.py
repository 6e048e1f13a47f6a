"""What the use cases need from the world, as Protocols. Adapters live on the middle floor, fakes in tests/fakes.

The stores' are beside what they keep: `job_store`, `key_store`, `webhook_store`, `audit`, `lineage_graph`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

from crossfade_core.job import JobId
from crossfade_core.messages import TaskName
from crossfade_core.spec import MergeSpec


@dataclass(frozen=True)
class FileInfo:
    """One file of a source. `version` changes whenever the content may have changed; equal versions, equal bytes.

    `sha256` is the hex digest that the registry itself states of the content, where it states one.
    """

    name: str
    size_bytes: int
    version: str
    sha256: str | None = None


@dataclass(frozen=True)
class StagedFile:
    """One file of an output as its maker knows it: its size, and the hex SHA-256 of what was written."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, content: bytes | bytearray) -> Self:
        """Return what there is to know of a file of this content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


Span = tuple[str, int, int]
"""Bytes `start` to `end` (not included) of a file."""


class Source(Protocol):
    """A checkpoint's folder, read by byte ranges. Safe to use from several threads."""

    @property
    def uri(self) -> str:
        """The canonical URI, pinned: opened again it is the same revision, where the registry has such."""

    def files(self) -> Mapping[str, FileInfo]:
        """Return the files at the top of the folder, by name.

        Raises:
            SourceNotFound: There is no such folder.
        """

    def unlisted(self) -> Mapping[str, str]:
        """Return what else lies there, by path, and what it is ("a file in a folder"); none of it can be read.

        Files below the top and files whose names are no plain ones; where the registry has such, also folders, pipes
        and links that lead to no file, without what is in them. Asked of the registry anew: it may take many requests.

        Raises:
            SourceNotFound: There is no such folder.
            SourceDenied: This service may not list it.
            SourceUnavailable: Listing failed, also after trying again.
        """

    def expect(self, spans: Sequence[Span]) -> None:
        """Hear what will be read, once and in this order, so that it can be fetched ahead; replaces what was expected.

        Anything else may be read as well.
        """

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of `file` from `offset` on: all of it, or an error.

        Raises:
            SourceNotFound: There is no such file.
            SourceDenied: This service may not read it.
            SourceChanged: It is no longer the file that `files` told of.
            ShortRead: The file ended first.
            SourceCorrupted: What came is not what the registry says it holds.
            SourceUnavailable: Reading failed, also after trying again.
        """

    def close(self) -> None:
        """Let go of open files and connections."""


class FileWriter(Protocol):
    """One staged file, written front to back by one thread at a time."""

    def write(self, buffer: memoryview) -> None:
        """Append all of `buffer`; the caller may reuse it afterwards.

        Raises:
            SinkUnavailable: The destination refused (full, read-only, away).
        """

    def finish(self, sha256: str) -> None:
        """Make what was written durable and put it in its staged place, in one step.

        Args:
            sha256: Hex SHA-256 of all that was written.

        Raises:
            SinkError: The destination refused, or holds something else than was written.
        """

    def abandon(self) -> None:
        """Drop what was written. Allowed at any time, also after an error; does nothing after `finish`."""


class Sink(Protocol):
    """Where one job's outputs go. Staged files are invisible until `commit`."""

    @property
    def requires_approval(self) -> bool:
        """Whether an output is committed only once somebody has approved it, as the destination is configured now."""

    def check_free(self, name: str) -> None:
        """Say early what `commit` would refuse.

        Raises:
            OutputNameUnsafe: The name leads out of the destination or through a symbolic link.
            OutputExists: Something of that name is there and the job does not overwrite.
            SinkDenied: This service may not write there.
        """

    def check_room(self, file_bytes: int, files: int) -> None:
        """Say before a job is accepted whether its units, each writing `files` files of `file_bytes`, have room here.

        Raises:
            ScratchTooSmall: They pass through local scratch, and its disk is too full for the units under way at once.
        """

    def scratch_bytes(self, file_bytes: int, files: int) -> int:
        """Return what `check_room` holds against the free room of local scratch; 0 where nothing passes through it."""

    def create_file(self, name: str, file: str, size_bytes: int) -> FileWriter:
        """Begin (again) the staged file `file` of output `name`; visible to nobody, not even as staged, until finished.

        Raises:
            SinkUnavailable: The destination refused.
        """

    def commit(self, name: str, files: Mapping[str, StagedFile]) -> str:
        """Publish the staged output `name` in one step and return its URI.

        Shards may have been staged by other processes. Calling again after a crash in between, with the small files
        staged again, finds the published output and returns its URI.

        Args:
            name: The output.
            files: Every file it must consist of; `lineage.json` is the last to become visible where they cannot all at
                once.

        Raises:
            OutputExists: Something else of that name is there and the job does not overwrite.
            SinkError: A staged file is missing, extra, of another size or of another digest.
        """

    def hand_over(self, name: str) -> Mapping[str, bytes]:
        """Return, by name, and let go of what is staged of output `name` in the memory of this process alone.

        Staged again by any process, it can be committed with the rest; where everything is kept at the destination,
        it is nothing.
        """

    def holds(self, name: str, files: Mapping[str, StagedFile]) -> bool:
        """Tell whether the published output `name` still consists of these files.

        As far as can be told without reading a shard: by names and sizes, and by the content of `lineage.json` or by
        digests that the registry itself states. Where it states them, a model card may have been edited since.

        Raises:
            SinkError: The destination refused, or is away.
        """

    def discard(self) -> None:
        """Remove everything this job has staged, never what is published. Does nothing where there is nothing."""


class TaskQueue(Protocol):
    """Delivers messages; may lose, double or delay them."""

    def send(self, task: TaskName, id: str) -> None:
        """Send one message.

        Raises:
            QueueUnavailable: The broker is away.
        """


class Signer(Protocol):
    """A signing key: EC P-256, wherever it is kept."""

    @property
    def key_id(self) -> str:
        """SHA-256, in hex, of the public key as DER SubjectPublicKeyInfo (RFC 5280)."""

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM SubjectPublicKeyInfo (RFC 7468)."""

    def sign(self, data: bytes) -> bytes:
        """Return an ECDSA signature over the SHA-256 of `data`, as DER (RFC 3279, Ecdsa-Sig-Value).

        Raises:
            SigningFailed: The key cannot be used at this moment.
        """


class Clock(Protocol):
    """The time, as one thing that tests can move."""

    def now(self) -> datetime:
        """Return the time in UTC, with its zone."""


OpenSource = Callable[[str], Source]
"""Open a source by its URI; raises SourceError: not configured here, not there, not allowed."""

OpenSink = Callable[[MergeSpec, JobId], Sink]
"""Open the spec's destination for one job; raises UnknownDestination."""
