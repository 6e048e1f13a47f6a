"""Publish outputs into a bucket: shards go up as they are made and appear when completed, manifests last of all.

S3 has no rename and no transaction. What stands in for them:

    PREFIX/OUTPUT/FILE                  uploads are begun here, and show nothing before they are completed
    PREFIX/.crossfade-staging/…         small files, notes of the uploads, claims to names (`staging`, `claims`)

`commit` claims the name, completes the uploads, verifies them, puts the small files, then the index and, if there is
none, at the very end lineage.json, without which an output is not whole. Every step can be done again after a crash, by
another process too. An upload that was begun and never noted, because its process died between, is known to nobody: let
a lifecycle rule of the bucket abort uploads that are days old.
"""

from collections.abc import Mapping
from typing import Final

from crossfade_core.errors import OutputExists, OutputNameUnsafe
from crossfade_core.job import JobId
from crossfade_core.output_name import check_output_name
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import FileWriter, StagedFile
from crossfade_registries.retrying import Patience
from crossfade_registries.s3.bucket import Bucket
from crossfade_registries.s3.checksums import CHECKSUMS
from crossfade_registries.s3.claims import Claims
from crossfade_registries.s3.client import S3Client
from crossfade_registries.s3.folder import OutputFolder
from crossfade_registries.s3.parts import PartBuffers, at_once
from crossfade_registries.s3.publication import MANIFESTS, Publication
from crossfade_registries.s3.staging import STAGING, Staging
from crossfade_registries.s3.writers import ContentWriter, FilePlace, UploadWriter
from crossfade_registries.settings import S3Destination
from crossfade_registries.turn import Turn

PATIENCE: Final = Patience()


class S3Sink:
    """One job's outputs in one destination. Memory: a part for each open writer, and for each of the parts being sent.

    All methods raise SinkDenied where the store refuses the destination's credential, and SinkUnavailable where it
    cannot be reached.

    Args:
        client: How to reach the store.
        destination: Which bucket, which prefix, which checksums.
        job_id: Whose staging prefix to use.
        overwrite: Whether an output already there is replaced. It is gone from the first write of the new one on.
        patience: How often a request is tried.
        turn: Taken to make a shard.
    """

    def __init__(
        self,
        client: S3Client,
        destination: S3Destination,
        job_id: JobId,
        *,
        overwrite: bool = False,
        patience: Patience = PATIENCE,
        turn: Turn | None = None,
    ) -> None:
        self._job_id, self._overwrite = job_id, overwrite
        self._part_bytes = destination.part_bytes
        self._bucket = Bucket(client, destination.bucket, CHECKSUMS[destination.checksums], patience)
        self._prefix = f"{destination.prefix}/" if destination.prefix else ""
        self._staging = Staging(self._bucket, self._prefix + STAGING, job_id)
        self._claims = Claims(self._bucket, self._prefix + STAGING, job_id)
        self._buffers, self._turn = PartBuffers(), turn or Turn(None)
        self._is_writable = False
        self._requires_approval = destination.requires_approval

    @property
    def requires_approval(self) -> bool:
        """Whether outputs are committed on approval only."""
        return self._requires_approval

    def check_free(self, name: str) -> None:
        """Say early what `commit` would refuse; writes and deletes one empty object to see whether it may.

        Raises:
            OutputNameUnsafe: The name is unsafe, or what is there is no earlier output.
            OutputExists: Something of that name is there and the job does not overwrite.
        """
        self._folder(name).check_writable_over(self._job_id, overwrite=self._overwrite)
        if not self._is_writable:
            self._staging.check_writable()
            self._is_writable = True

    def check_room(self, file_bytes: int, files: int) -> None:
        """Nothing passes through scratch: a shard goes up as it is made."""

    def scratch_bytes(self, file_bytes: int, files: int) -> int:
        """Return 0: scratch is not used."""
        return 0

    def create_file(self, name: str, file: str, size_bytes: int) -> FileWriter:
        """Begin a staged file: an upload, or what fits into one part in memory.

        Raises:
            OutputNameUnsafe: The name or the file's name is unsafe.
        """
        place = FilePlace(name, file, size_bytes, self._folder(name).prefix + _safe_file(file, name))
        if size_bytes <= self._part_bytes or file in MANIFESTS:
            return ContentWriter(self._staging, place)
        return UploadWriter(
            self._bucket,
            self._staging,
            place,
            buffers=self._buffers,
            turn=self._turn,
            part_bytes=self._part_bytes,
        )

    def commit(self, name: str, files: Mapping[str, StagedFile]) -> str:
        """Publish the staged output and return its `s3://` URI.

        Raises:
            OutputNameUnsafe: What is to be replaced is no earlier output.
            OutputExists: Something else of that name is there and the job does not overwrite, or another job is
                publishing there.
            OutputMoved: Somebody who knows nothing of claims published there meanwhile.
            SinkError: A staged file is missing, extra, of another size or of another digest.
            StagedFileCorrupted: The store holds other bytes than were written; they are deleted.
        """
        folder = self._folder(name)
        if not folder.is_published(self._job_id, files):
            publication = Publication(folder, self._staging, self._job_id, files=files)
            self._claim(folder)
            if not folder.is_published(self._job_id, files):  # else another process of this job was quicker
                publication.clear()
                publication.write()
        self._claims.release(name)
        return folder.uri

    def hand_over(self, name: str) -> Mapping[str, bytes]:
        """Return nothing: everything staged lies in the bucket, or in open uploads to it."""
        return {}

    def holds(self, name: str, files: Mapping[str, StagedFile]) -> bool:
        """Tell whether the output's own keys are these files by name, size, and the content of its lineage."""
        return self._folder(name).holds(files)

    def discard(self) -> None:
        """Abort this job's uploads and remove everything it has staged, also what a commit left half written."""
        self._staging.abort_uploads()
        for name in self._staging.outputs():
            if self._claims.is_writing(name):
                self._folder(name).remove(self._job_id)
            self._claims.release(name)
        at_once(self._bucket.delete, self._staging.keys())

    def _claim(self, folder: OutputFolder) -> None:
        """Take the name and, before anything is written there, see that it may be."""
        is_writing = self._claims.take(folder.name)
        if is_writing and LINEAGE_FILE not in folder.files():
            return  # what is there are leavings of an earlier attempt, or of what it was to replace
        try:
            folder.check_writable_over(self._job_id, overwrite=self._overwrite)
        except (OutputExists, OutputNameUnsafe):
            if not is_writing:
                self._claims.release(folder.name)
            raise
        self._claims.begin_writing(folder.name)

    def _folder(self, name: str) -> OutputFolder:
        return OutputFolder(self._bucket, _safe(name), f"{self._prefix}{name}/")


def _safe(name: str) -> str:
    try:
        return check_output_name(name)
    except ValueError as error:
        raise OutputNameUnsafe(str(error), output=name) from error


def _safe_file(file: str, output: str) -> str:
    if "/" in _safe(file):
        raise OutputNameUnsafe(f"{file!r} is no plain file name", output=output)
    return file
