"""Fetch ranges of objects that must stay as they were listed, going on at the byte where an answer broke off."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from urllib3 import HTTPResponse

from crossfade_core.errors import ShortRead, SourceChanged, SourceError
from crossfade_core.ports import FileInfo
from crossfade_registries.retrying import Patience, retried
from crossfade_registries.s3.client import S3_ERRORS, S3Client, source_error

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

_PIECE_BYTES: Final = 256 << 10
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class S3Object:
    """An object as it was listed.

    Attributes:
        source: URI of the source it is a file of.
        file: Its name there.
        bucket: Where it lies.
        key: Under which key.
        size_bytes: Its size.
        etag: Its entity tag, without quotes.
        checksums: What the store keeps of it by the listing's account (`CRC64NVME`); None where listings do not tell.
    """

    source: str
    file: str
    bucket: str
    key: str
    size_bytes: int
    etag: str
    checksums: tuple[str, ...] | None

    @property
    def info(self) -> FileInfo:
        """The file it is."""
        return FileInfo(self.file, self.size_bytes, self.etag)

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.source}/{self.file}"


class S3Download:
    """Reads objects through one client. Safe to use from several threads.

    Args:
        client: Of the store.
        patience: With the store, for each range.
    """

    def __init__(self, client: S3Client, patience: Patience) -> None:
        self._client, self._patience = client, patience
        self._is_closed = False

    def fetch(self, target: S3Object, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of an object; what has come is not asked for again.

        Raises:
            SourceChanged: The store holds another object there now.
            ShortRead: Answers kept ending early.
            SourceError: The store refused, failed, or does not know ranges.
        """
        done = 0

        def rest() -> None:
            nonlocal done
            while done < len(buffer):
                for count in self._receive(target, offset + done, buffer[done:]):
                    done += count

        retried(rest, self._patience)

    def head(self, target: S3Object) -> "HeadObjectOutputTypeDef":
        """Return what the store says of an object, with its checksums.

        Raises:
            SourceChanged: The store holds another object there now.
            SourceError: The store refused or failed.
        """

        def ask() -> "HeadObjectOutputTypeDef":
            with _named(target):
                return self._client.head_object(
                    Bucket=target.bucket, Key=target.key, IfMatch=f'"{target.etag}"', ChecksumMode="ENABLED"
                )

        answer = retried(ask, self._patience)
        _check_same(target, answer.get("ETag"))
        return answer

    def close(self) -> None:
        """Let fetches under way end with an error soon."""
        self._is_closed = True

    def _receive(self, target: S3Object, offset: int, buffer: memoryview) -> Iterator[int]:
        """Fill the front of `buffer` from one answer, and yield how many bytes came each time some did."""
        with _named(target):
            answer = self._client.get_object(
                Bucket=target.bucket,
                Key=target.key,
                IfMatch=f'"{target.etag}"',
                Range=f"bytes={offset}-{offset + len(buffer) - 1}",
            )
            # What it enters is urllib3's answer, the only one of the two that can receive once.
            with cast(HTTPResponse, answer["Body"]) as body:
                left = buffer[: _answered_bytes(target, answer, offset, len(buffer))]
                while left:
                    self._check_open(target)
                    # Of a read that takes several receives and breaks off, what came before would be lost.
                    piece = body.read1(min(len(left), _PIECE_BYTES))
                    if not piece:
                        raise ShortRead(
                            f"{target.where}: expected {len(buffer)} bytes at {offset}, the answer ended {len(left)} "
                            "bytes early; try again later",
                            source=target.source,
                            file=target.file,
                        )
                    left[: len(piece)] = piece
                    left = left[len(piece) :]
                    yield len(piece)

    def _check_open(self, target: S3Object) -> None:
        if self._is_closed:
            raise SourceError(f"{target.where}: closed while it was read", source=target.source, file=target.file)


@contextlib.contextmanager
def _named(target: S3Object) -> Iterator[None]:
    """Raise what boto3 raises as what it means for this object."""
    try:
        yield
    except S3_ERRORS as error:
        raise source_error(error, target.where, source=target.source, file=target.file) from error


def _answered_bytes(target: S3Object, answer: "GetObjectOutputTypeDef", offset: int, wanted_bytes: int) -> int:
    """Return how many of the bytes from `offset` on the answer holds; it may be fewer than wanted.

    Raises:
        SourceChanged: It is of another object than was listed.
        SourceError: It is of another range than was asked for.
    """
    _check_same(target, answer.get("ETag"))
    whole = f"bytes 0-{answer['ContentLength'] - 1}/{target.size_bytes}"
    found = _RANGE.fullmatch(answer.get("ContentRange") or whole)
    if found is None or int(found[1]) != offset or not 0 < int(found[2]) + 1 - offset <= wanted_bytes:
        raise SourceError(
            f"{target.where}: asked for {wanted_bytes} bytes at {offset}, the store answered with "
            f"{answer.get('ContentRange') or 'the whole object'}; it must know ranges (RFC 9110, section 14)",
            source=target.source,
            file=target.file,
        )
    if found[3] not in ("*", str(target.size_bytes)):
        raise _changed(target, f"it has {found[3]} bytes instead of {target.size_bytes}")
    return int(found[2]) + 1 - offset


def _check_same(target: S3Object, etag: str | None) -> None:
    # Some stores ignore If-Match.
    if etag is not None and etag.strip('"') != target.etag:
        raise _changed(target, f'its ETag is {etag} instead of "{target.etag}"')


def _changed(target: S3Object, how: str) -> SourceChanged:
    return SourceChanged(
        f"{target.where}: the object was replaced while the job ran: {how}; submit the job again",
        source=target.source,
        file=target.file,
    )
