"""The requests that publishing into a bucket needs, each tried again where that can help, with errors in our words."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any, Final, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from crossfade_core.errors import SinkError, StagedFileCorrupted, StagedFileLost
from crossfade_registries.retrying import Patience, retried
from crossfade_registries.s3.checksums import Checksum
from crossfade_registries.s3.client import S3Client, sink_error

JOB_KEY: Final = "crossfade-job"
"""In the metadata of every object that becomes part of an output: the job that put it there."""

T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """What the store says of an object.

    Attributes:
        size_bytes: Its size.
        job: The job that put it there as part of an output; "" for any other object.
        answer: All that the store answered, for its checksums.
    """

    size_bytes: int
    job: str
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class Upload:
    """A multipart upload under way: its id, and the key of the object that it will be."""

    key: str
    id: str


class Bucket:
    """One bucket, as one service may use it. Safe to use from several threads.

    All methods raise SinkDenied, SinkUnavailable or SinkError as the store refuses.

    Args:
        client: How to reach the store.
        name: The bucket's.
        checksum: What the store is asked to verify bodies by.
        patience: How often a request is tried, beyond the client's own few times.
    """

    def __init__(self, client: S3Client, name: str, checksum: Checksum, patience: Patience) -> None:
        self._client, self._name = client, name
        self._patience = patience
        self.checksum = checksum

    def in_a_hurry(self) -> "Bucket":
        """Return the same bucket without patience."""
        return Bucket(self._client, self._name, self.checksum, Patience(attempts=1))

    def uri(self, key: str) -> str:
        """What messages call the object of that key."""
        return f"s3://{self._name}/{key}"

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the size of every object below `prefix`, by what follows it in the key."""
        return {
            entry["Key"][len(prefix) :]: entry["Size"]
            for page in self._pages(prefix, {})
            for entry in page.get("Contents", [])
        }

    def children(self, prefix: str) -> tuple[set[str], set[str]]:
        """Return the names directly below `prefix`, which ends in "/": of objects, and of what would be folders."""
        files, folders = set[str](), set[str]()
        for page in self._pages(prefix, {"Delimiter": "/"}):
            files.update(entry["Key"][len(prefix) :] for entry in page.get("Contents", []))
            folders.update(entry["Prefix"][len(prefix) :].rstrip("/") for entry in page.get("CommonPrefixes", []))
        return files - {""}, folders  # "" is the folder itself, where a console has made one

    def head(self, key: str) -> Stored | None:
        """Return what the store says of an object, None where there is none."""
        request: dict[str, Any] = {"Bucket": self._name, "Key": key, "ChecksumMode": "ENABLED"}
        try:
            answer = self._ask(key, lambda: self._client.head_object(**request))
        except StagedFileLost:
            return None
        return Stored(answer["ContentLength"], answer.get("Metadata", {}).get(JOB_KEY, ""), answer)

    def read(self, key: str, span: tuple[int, int] | None = None) -> bytes | None:
        """Return the content of an object, or its bytes from start to end (not included); None where there is none."""
        request: dict[str, Any] = {"Bucket": self._name, "Key": key}
        if span is not None:
            request["Range"] = f"bytes={span[0]}-{span[1] - 1}"

        def receive() -> bytes:
            answer = self._client.get_object(**request)
            if span is not None and answer["ContentLength"] != span[1] - span[0]:
                raise SinkError(f"{self.uri(key)}: the store answered {request['Range']} with other bytes", key=key)
            return answer["Body"].read()

        try:
            return self._ask(key, receive)
        except StagedFileLost:
            return None

    def put(
        self, key: str, content: bytes | bytearray, *, job: str = "", only_if_absent: bool = False
    ) -> Mapping[str, Any]:
        """Store an object and return the answer.

        Raises:
            OutputMoved: There is one already, and it was to be put only if absent; several stores do not look.
            StagedFileCorrupted: The store took in something else, each time.
        """
        value = self.checksum.value(memoryview(content))
        request: dict[str, Any] = {"Bucket": self._name, "Key": key, "Body": content, **self.checksum.to_send(value)}
        if job:
            request["Metadata"] = {JOB_KEY: job}
        if only_if_absent:
            request["IfNoneMatch"] = "*"

        def send() -> Mapping[str, Any]:
            return self._verified(key, value, self._client.put_object(**request))

        return self._ask(key, send)

    def delete(self, key: str) -> None:
        """Delete an object; does nothing where there is none."""
        with contextlib.suppress(StagedFileLost):
            self._ask(key, lambda: self._client.delete_object(Bucket=self._name, Key=key))

    def begin_upload(self, key: str, job: str) -> Upload:
        """Begin a multipart upload, of which nothing shows before it is completed."""
        begin: dict[str, Any] = {"Metadata": {JOB_KEY: job}, **self.checksum.to_begin}
        answer = self._ask(key, lambda: self._client.create_multipart_upload(Bucket=self._name, Key=key, **begin))
        return Upload(key, answer["UploadId"])

    def put_part(self, upload: Upload, number: int, body: mmap, value: str, is_wanted: Callable[[], bool]) -> str:
        """Send one part, all of `body`, and return its ETag.

        Args:
            upload: What it is a part of.
            number: Its number, from 1.
            body: Its bytes.
            value: Their checksum.
            is_wanted: Asked before each try.

        Raises:
            StagedFileLost: The upload was aborted, or the part is not wanted any more.
            StagedFileCorrupted: The store took in something else, each time.
        """
        request: dict[str, Any] = {"UploadId": upload.id, "PartNumber": number, **self.checksum.to_send(value)}

        def send() -> str:
            if not is_wanted():
                raise StagedFileLost(f"{self.uri(upload.key)}: the upload was given up", key=upload.key)
            body.seek(0)
            answer = self._client.upload_part(
                Bucket=self._name, Key=upload.key, Body=cast("IO[bytes]", body), **request
            )
            return str(self._verified(upload.key, value, answer)["ETag"])

        return self._ask(upload.key, send)

    def complete_upload(self, upload: Upload, etags: Sequence[str], complete: Mapping[str, str]) -> None:
        """Make an object of the parts of these ETags, in order.

        Args:
            upload: The upload.
            etags: As `put_part` returned them.
            complete: What the checksum says to it.

        Raises:
            StagedFileLost: There is no such upload any more.
        """
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]
        request: dict[str, Any] = {"Bucket": self._name, "Key": upload.key, "UploadId": upload.id}
        request |= {"MultipartUpload": {"Parts": parts}, **complete}
        self._ask(upload.key, lambda: self._client.complete_multipart_upload(**request))

    def abort_upload(self, upload: Upload) -> None:
        """Abort an upload and drop its parts; does nothing where it was completed or aborted."""
        request: dict[str, Any] = {"Bucket": self._name, "Key": upload.key, "UploadId": upload.id}
        with contextlib.suppress(StagedFileLost):
            self._ask(upload.key, lambda: self._client.abort_multipart_upload(**request))

    def _verified(self, key: str, value: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Compare what the store says it took in, where it says that."""
        stated = self.checksum.stated(answer)
        if stated not in (None, value):
            raise StagedFileCorrupted(
                f"{self.uri(key)}: sent bytes of {self.checksum.name} {value}, and the store took in {stated}; try "
                "again. Where the store encrypts, its ETags may be no MD5: configure checksums: crc64nvme",
                key=key,
            )
        return answer

    def _pages(self, prefix: str, options: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        request: dict[str, Any] = {"Bucket": self._name, "Prefix": prefix, **options}
        while True:
            page = self._ask(prefix, lambda: self._client.list_objects_v2(**request))
            yield page
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _ask(self, key: str, request: Callable[[], T]) -> T:
        def once() -> T:
            try:
                return request()
            except (ClientError, BotoCoreError, HTTPError, OSError) as error:
                raise sink_error(error, self.uri(key), key=key) from error

        return retried(once, self._patience)
