"""Write one staged file into a bucket: a large one part by part as its bytes come, a small one in one request."""

import contextlib
import functools
from concurrent.futures import Future, wait
from dataclasses import dataclass
from mmap import mmap

from crossfade_core.errors import SinkError, SinkUnavailable
from crossfade_core.ports import StagedFile
from crossfade_registries.s3.bucket import Bucket
from crossfade_registries.s3.parts import PartBuffers, part_bytes_for, upload_threads
from crossfade_registries.s3.staging import StagedUpload, Staging
from crossfade_registries.turn import Turn


@dataclass(frozen=True)
class FilePlace:
    """Which file it is: its output, its name, the size it was announced with, and the key it will have in the end."""

    output: str
    file: str
    size_bytes: int
    key: str

    def check_written(self, written_bytes: int) -> None:
        """Compare what was written with what was announced.

        Raises:
            SinkUnavailable: It was more or less.
        """
        if written_bytes != self.size_bytes:
            raise SinkUnavailable(
                f"{self.file}: {written_bytes} bytes written, {self.size_bytes} announced", file=self.file
            )


@dataclass(frozen=True)
class _Part:
    value: str
    size_bytes: int
    etag: str


class UploadWriter:
    """A multipart upload to the file's own key, never completed here: until the commit nobody sees anything.

    Holds one buffer of a part, and those of the parts being sent. A write waits while all buffers are being sent.

    Args:
        bucket: Where to.
        staging: Where the upload is noted; its job is named in the object's metadata.
        place: Which file.
        buffers: Shared with the sink's other writers.
        turn: Taken with the first byte; with the last, the next unit may begin.
        part_bytes: Size of a part, unless the parts were too many.

    Raises:
        SinkError: The store refused.
    """

    def __init__(
        self,
        bucket: Bucket,
        staging: Staging,
        place: FilePlace,
        *,
        buffers: PartBuffers,
        turn: Turn,
        part_bytes: int,
    ) -> None:
        self._bucket, self._staging, self._place = bucket, staging, place
        self._buffers, self._turn = buffers, turn
        self._part_bytes = part_bytes_for(place.size_bytes, part_bytes)
        self._filling: mmap | None = None
        self._sent: list[Future[_Part]] = []
        self._written = 0
        self._failure: BaseException | None = None
        self._upload = bucket.begin_upload(place.key, staging.job_id)
        try:
            self._note = staging.keep_open(place.output, place.file, self._upload)
        except SinkError:
            bucket.abort_upload(self._upload)
            raise
        buffers.open_writer()
        self._is_open = True

    def write(self, buffer: memoryview) -> None:
        """Append all of `buffer`; wait where the store is slower.

        Raises:
            SinkError: A part could not be sent.
        """
        self._turn.take(self._place.size_bytes)
        while len(buffer) > 0:
            self._check_sent()
            if self._filling is None:
                self._filling = self._buffers.take(self._part_bytes)
            room = self._part_bytes - self._filling.tell()
            self._written += self._filling.write(buffer[:room])
            buffer = buffer[room:]
            if self._filling.tell() == self._part_bytes:
                self._send()

    def finish(self, sha256: str) -> None:
        """Wait for every part, and stage the file.

        Raises:
            SinkUnavailable: Fewer or more bytes than announced were written, or the store refused.
            SinkError: A part could not be sent.
        """
        self._place.check_written(self._written)
        if self._filling is not None:
            self._filling.resize(self._filling.tell())
            self._send()
        with self._turn.sending():
            wait(self._sent)
        self._check_sent()
        parts = [future.result() for future in self._sent]
        staged = StagedUpload(
            upload_id=self._upload.id,
            etags=tuple(part.etag for part in parts),
            checksums=self._bucket.checksum.name,
            whole=self._bucket.checksum.whole([(part.value, part.size_bytes) for part in parts]),
        )
        about = StagedFile(self._place.size_bytes, sha256)
        self._staging.keep_upload(self._place.output, self._place.file, about, staged)
        self._close()

    def abandon(self) -> None:
        """Abort the upload; where the store cannot be reached, `discard` does it later."""
        if not self._is_open:
            return
        self._turn.give_back()
        self._failure = self._failure or SinkUnavailable(f"{self._place.file}: abandoned")
        wait(self._sent)  # a part that arrives after the abort would stay
        if self._filling is not None:
            self._buffers.give(self._filling)
        self._close()
        bucket = self._bucket.in_a_hurry()
        with contextlib.suppress(SinkError):
            bucket.abort_upload(self._upload)
            bucket.delete(self._note)

    def _send(self) -> None:
        part, self._filling = self._filling, None
        if part is not None:
            future = upload_threads().submit(self._send_part, len(self._sent) + 1, part)
            future.add_done_callback(functools.partial(self._note_sent, part))
            self._sent.append(future)

    def _send_part(self, number: int, part: mmap) -> _Part:
        with memoryview(part) as content:
            size_bytes, value = content.nbytes, self._bucket.checksum.value(content)
        etag = self._bucket.put_part(self._upload, number, part, value, lambda: self._failure is None)
        return _Part(value, size_bytes, etag)

    def _note_sent(self, part: mmap, future: Future[_Part]) -> None:
        self._failure = self._failure or future.exception()
        self._buffers.give(part)

    def _check_sent(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _close(self) -> None:
        self._is_open = False
        self._sent.clear()  # they hold their parts, and this writer, until the collector comes by
        self._buffers.close_writer()


class ContentWriter:
    """A small file, kept in memory and staged in one request.

    Args:
        staging: Where to.
        place: Which file.
    """

    def __init__(self, staging: Staging, place: FilePlace) -> None:
        self._staging, self._place = staging, place
        self._content = bytearray()

    def write(self, buffer: memoryview) -> None:
        """Append all of `buffer`."""
        self._content += buffer

    def finish(self, sha256: str) -> None:
        """Stage the file.

        Raises:
            SinkUnavailable: Fewer or more bytes than announced were written, or the store refused.
            SinkError: The store holds something else than was sent.
        """
        self._place.check_written(len(self._content))
        about = StagedFile(self._place.size_bytes, sha256)
        self._staging.keep_content(self._place.output, self._place.file, about, self._content)
        self._content = bytearray()

    def abandon(self) -> None:
        """Drop what was written; nothing of it was sent."""
        self._content = bytearray()
