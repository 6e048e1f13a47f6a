"""Read a checkpoint from the objects below a prefix of an S3 bucket, each as it was when it was first listed."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from crossfade_core.errors import PathOutsideRoot, ShortRead, SourceCorrupted, SourceNotFound
from crossfade_core.ports import FileInfo, Span
from crossfade_registries.first_bytes import FirstBytes
from crossfade_registries.plain_names import describe_unlisted, is_plain
from crossfade_registries.read_ahead import ReadAhead
from crossfade_registries.retrying import Patience, retried
from crossfade_registries.s3.client import S3_ERRORS, S3Client, source_error
from crossfade_registries.s3.download import S3Download, S3Object
from crossfade_registries.s3.object_checksum import ObjectChecksum

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import ObjectTypeDef


class S3Source:
    """The objects directly below a prefix.

    Args:
        client: Of the store.
        bucket: As the store calls it.
        prefix: Of the checkpoint, without a slash at its end.
        uri: What the job calls it.
        patience: With the store.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        uri: str,
        *,
        patience: Patience = Patience(),  # noqa: B008  (frozen)
    ) -> None:
        self._client, self._bucket, self._prefix, self._uri = client, bucket, prefix, uri
        self._patience = patience
        self._download = S3Download(client, patience)
        self._first = FirstBytes(self._fetch)
        self._ahead = ReadAhead(self._fetch)
        self._pinned: dict[str, S3Object] = {}
        self._checksums: dict[str, ObjectChecksum] = {}
        self._corrupted: dict[str, SourceCorrupted] = {}
        self._is_expecting = False
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        """The URI the job gave; versions pin what it means."""
        return self._uri

    def files(self) -> Mapping[str, FileInfo]:
        """Return the objects directly below the prefix as they are now, by name.

        What is read stays pinned to what the first listing told.

        Raises:
            SourceNotFound: There is no such bucket, or nothing below the prefix.
            SourceDenied: This service may not list it.
            SourceUnavailable: Listing failed, also after trying again.
        """
        found = retried(self._list, self._patience)
        with self._lock:
            self._pinned = {**found, **self._pinned}
        return {file: target.info for file, target in found.items()}

    def unlisted(self) -> Mapping[str, str]:
        """Return the other objects below the prefix, at any depth, by what follows it; not a marker of the prefix.

        Raises:
            SourceNotFound: There is no such bucket, or nothing below the prefix.
            SourceDenied: This service may not list it.
            SourceUnavailable: Listing failed, also after trying again.
        """
        paths = retried(self._list_all, self._patience)
        return {path: describe_unlisted(path) for path in sorted(paths) if path and not is_plain(path)}

    def expect(self, spans: Sequence[Span]) -> None:
        """Fetch these spans ahead.

        Raises:
            SourceNotFound: There is no such file.
        """
        for file in {file for file, _, _ in spans}:
            self._object(file)
        self._is_expecting = bool(spans)
        self._ahead.expect(spans)

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of `file`: all of it, or an error.

        Reading nothing says whether the file may be read at all.

        Raises:
            SourceNotFound: There is no such file.
            PathOutsideRoot: The name is no plain file name.
            SourceDenied: This service may not read it.
            SourceChanged: The object was replaced since it was listed.
            ShortRead: The file ends first, or answers kept ending early.
            SourceCorrupted: All of the file came, and the store states another checksum of it.
            SourceUnavailable: Reading failed, also after trying again.
        """
        size_bytes = self._object(file).size_bytes
        if offset + len(buffer) > size_bytes:
            raise ShortRead(
                f"{self._uri}/{file}: expected {len(buffer)} bytes at {offset}, the file has {size_bytes}",
                source=self._uri,
                file=file,
            )
        if not buffer:
            buffer, offset = memoryview(bytearray(min(1, size_bytes))), 0
        # What is expected is fetched once, by the read-ahead; keeping beginnings would fetch some of it again.
        done = 0 if self._is_expecting else self._first.read_into(file, size_bytes, offset, buffer)
        self._ahead.read_into(file, offset + done, buffer[done:])

    def close(self) -> None:
        """Fetch nothing more; the client's connections stay."""
        self._download.close()
        self._ahead.close()

    def _fetch(self, file: str, offset: int, buffer: memoryview) -> None:
        if file in self._corrupted:
            raise self._corrupted[file]
        target = self._object(file)
        self._download.fetch(target, offset, buffer)
        with self._lock:
            checksum = self._checksums.setdefault(file, ObjectChecksum(target.size_bytes, target.checksums))
        if checksum.add(offset, buffer):
            self._verify(target, checksum)

    def _verify(self, target: S3Object, checksum: ObjectChecksum) -> None:
        difference = checksum.differs(self._download.head(target))
        if difference is not None:
            self._corrupted[target.file] = SourceCorrupted(
                f"{target.where}: what came has the {difference}; if it happens again, upload the file again",
                source=self._uri,
                file=target.file,
            )
            raise self._corrupted[target.file]

    def _object(self, file: str) -> S3Object:
        if not is_plain(file):
            raise PathOutsideRoot(f"{self._uri}: {file!r} is no plain file name", source=self._uri, file=file)
        if not self._pinned:
            self.files()
        if file not in self._pinned:
            where = f"{self._uri}/{file}"
            raise SourceNotFound(f"{where}: there is no such object; check the path", source=self._uri, file=file)
        return self._pinned[file]

    def _list(self) -> dict[str, S3Object]:
        try:
            found = {name: self._describe(name, entry) for name, entry in self._listed("/") if is_plain(name)}
        except S3_ERRORS as error:
            raise source_error(error, self._uri, source=self._uri) from error
        return dict(sorted(found.items()))

    def _list_all(self) -> list[str]:
        try:
            return [name for name, _ in self._listed("")]
        except S3_ERRORS as error:
            raise source_error(error, self._uri, source=self._uri) from error

    def _listed(self, delimiter: str) -> Iterator[tuple[str, "ObjectTypeDef"]]:
        """Yield what follows the prefix in the key of each object up to the delimiter; an empty one is none."""
        folder = f"{self._prefix}/"
        paginator = self._client.get_paginator("list_objects_v2")
        is_there = False
        for page in paginator.paginate(Bucket=self._bucket, Prefix=folder, Delimiter=delimiter):
            is_there = is_there or bool(page.get("Contents") or page.get("CommonPrefixes"))
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(folder), entry
        if not is_there:
            raise SourceNotFound(f"{self._uri}: nothing lies there; check the path", source=self._uri)

    def _describe(self, name: str, entry: "ObjectTypeDef") -> S3Object:
        etag, kept = entry["ETag"].strip('"'), entry.get("ChecksumAlgorithm")
        checksums = None if kept is None else tuple(kept)
        return S3Object(self._uri, name, self._bucket, entry["Key"], entry["Size"], etag, checksums)
