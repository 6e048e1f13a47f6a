"""Make one staged output visible, file by file and its manifests last; every step may be done again after a crash."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from crossfade_core.checkpoint import INDEX_FILE
from crossfade_core.errors import OutputMoved, SinkError, StagedFileCorrupted, StagedFileLost
from crossfade_core.job import JobId
from crossfade_core.model_config import CONFIG_FILE
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import StagedFile
from crossfade_registries.s3.bucket import Stored, Upload
from crossfade_registries.s3.checksums import CHECKSUMS
from crossfade_registries.s3.folder import OutputFolder
from crossfade_registries.s3.parts import at_once
from crossfade_registries.s3.staging import StagedUpload, Staging

MANIFESTS: Final = (LINEAGE_FILE, INDEX_FILE)
"""What makes an output look whole, deleted first, put last; always staged as content, so that each is one request."""

READ_BACK_BYTES: Final = 8 << 20

_LATE: Final = (CONFIG_FILE, INDEX_FILE)
"""Put in this order after all others, so that no loader takes what is there for a checkpoint before it is one."""


class Publication:
    """One output on its way from staging to its own keys. All methods raise SinkError as the store refuses.

    Args:
        folder: Where to.
        staging: Where from.
        job_id: Whose.
        files: What it must consist of.

    Raises:
        StagedFileLost: A file is not staged.
        SinkError: One is staged with other bytes only, or another one is staged too, or there is no lineage.json.
    """

    def __init__(
        self, folder: OutputFolder, staging: Staging, job_id: JobId, *, files: Mapping[str, StagedFile]
    ) -> None:
        self._folder, self._staging, self._job_id = folder, staging, job_id
        self._bucket = folder.bucket
        self._files = files
        self._staged = staging.pick(folder.name, files)
        if LINEAGE_FILE not in files:
            raise SinkError(f"output {folder.name}: without {LINEAGE_FILE} nobody could tell that it is whole")

    def clear(self) -> None:
        """Delete what stands there and is not written over: manifests first, then it looks whole to nobody."""
        standing = self._folder.files()
        obsolete = sorted(standing - self._files.keys() - set(MANIFESTS))
        for file in (*(manifest for manifest in MANIFESTS if manifest in standing), *obsolete):
            self._bucket.delete(self._key(file))

    def write(self) -> None:
        """Put every file to its place, verified.

        Raises:
            StagedFileLost: A staged file is gone.
            StagedFileCorrupted: The store holds other bytes than were written; they are deleted.
            OutputMoved: Somebody else published there meanwhile.
        """
        late = [file for file in _LATE if file in self._staged]
        at_once(self._put, [file for file in self._staged if file not in (*late, LINEAGE_FILE)])
        for file in late:
            self._put(file)
        self._put_content(LINEAGE_FILE, only_if_absent=True)

    def _put(self, file: str) -> None:
        if self._staged[file].is_content:
            self._put_content(file)
        else:
            self._complete(file)

    def _complete(self, file: str) -> None:
        upload = self._staging.read_upload(self._staged[file])
        standing = self._made(file, upload)
        is_size_right = standing.size_bytes == self._files[file].size_bytes
        is_confirmed = CHECKSUMS[upload.checksums].stated(standing.answer) == upload.whole
        if not is_size_right or (not is_confirmed and self._read_back(file) != self._files[file].sha256):
            self._refuse(file)

    def _made(self, file: str, upload: StagedUpload) -> Stored:
        """Complete an upload, unless an earlier attempt did, and return what the store made of it."""
        key, complete = self._key(file), CHECKSUMS[upload.checksums].to_complete(upload.whole)
        try:
            self._bucket.complete_upload(Upload(key, upload.upload_id), upload.etags, complete)
        except StagedFileLost:
            standing = self._bucket.head(key)
            if standing is None or standing.job != self._job_id:
                raise
            return standing
        standing = self._bucket.head(key)
        if standing is None:
            raise StagedFileLost(f"{self._bucket.uri(key)}: completed, and gone; submit the job again", file=file)
        return standing

    def _put_content(self, file: str, *, only_if_absent: bool = False) -> None:
        place, expected = self._staged[file], self._files[file].sha256
        content = self._staging.read_content(place)
        if hashlib.sha256(content).hexdigest() != expected:
            raise StagedFileCorrupted(f"{self._bucket.uri(place.key)}: not of sha256 {expected} any more", file=file)
        answer = self._put_once(file, content) if only_if_absent else self._put_again(file, content)
        value = self._bucket.checksum.value(memoryview(content))
        if self._bucket.checksum.stated(answer) != value and self._read_back(file) != expected:
            self._refuse(file)

    def _put_again(self, file: str, content: bytes) -> Mapping[str, Any]:
        return self._bucket.put(self._key(file), content, job=self._job_id)

    def _put_once(self, file: str, content: bytes) -> Mapping[str, Any]:
        try:
            return self._bucket.put(self._key(file), content, job=self._job_id, only_if_absent=True)
        except OutputMoved:
            if not self._folder.is_published(self._job_id, self._files):
                raise
            return {}  # this job put it there, and the first answer was lost

    def _read_back(self, file: str) -> str:
        """Return the SHA-256 of what the store holds; keeps READ_BACK_BYTES at most."""
        digest = hashlib.sha256()
        size_bytes = self._files[file].size_bytes
        for start in range(0, size_bytes, READ_BACK_BYTES):
            span = start, min(start + READ_BACK_BYTES, size_bytes)
            digest.update(self._bucket.read(self._key(file), span) or b"")
        return digest.hexdigest()

    def _refuse(self, file: str) -> None:
        """Delete a file that is not what was written, and say so."""
        about = self._files[file]
        self._bucket.delete(self._key(file))
        raise StagedFileCorrupted(
            f"{self._bucket.uri(self._key(file))}: {about.size_bytes} bytes of sha256 {about.sha256} were written, and "
            "the store made something else of them; it was deleted, submit the job again",
            output=self._folder.name,
            file=file,
        )

    def _key(self, file: str) -> str:
        return self._folder.prefix + file
