"""What one job has staged in a bucket, as objects under its staging prefix. The database knows nothing of it.

    PREFIX/.crossfade-staging/JOB/OUTPUT/FILE/TOKEN.open             an upload that was begun, to be aborted in the end
    PREFIX/.crossfade-staging/JOB/OUTPUT/FILE/SIZE-SHA256.upload     an upload of which every part is there
    PREFIX/.crossfade-staging/JOB/OUTPUT/FILE/SIZE-SHA256.content    a small file itself
    PREFIX/.crossfade-staging/claims/OUTPUT/JOB                      see `claims`

OUTPUT is the output's name with "~", which no name holds, for "/". A file's staged object is named by its size and
digest: two attempts at it do not meet unless they made the same bytes.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crossfade_core.errors import SinkError, StagedFileCorrupted, StagedFileLost
from crossfade_core.job import JobId
from crossfade_core.ports import StagedFile
from crossfade_registries.s3.bucket import Bucket, Upload
from crossfade_registries.s3.checksums import ChecksumName
from crossfade_registries.s3.parts import at_once

STAGING: Final = ".crossfade-staging"

M = TypeVar("M", bound=BaseModel)

_OPEN: Final = "open"
_UPLOAD: Final = "upload"
_CONTENT: Final = "content"
_ENTRY: Final = re.compile(r"([^/]+)/([^/]+)/([0-9a-f-]+)\.(open|upload|content)")


class StagedUpload(BaseModel):
    """An upload of which every part is there, and all that its completion needs.

    Attributes:
        upload_id: The store's name for it.
        etags: Of its parts, in order.
        checksums: What the store was asked to verify the parts by.
        whole: Checksum of the object that the parts make.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload_id: str
    etags: tuple[str, ...]
    checksums: ChecksumName
    whole: str


class _OpenUpload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    upload_id: str


@dataclass(frozen=True)
class StagedObject:
    """A staged file's place: the key of its content, or of the record of its upload."""

    key: str
    is_content: bool


class Staging:
    """One job's staging prefix. All methods raise SinkError as the store refuses.

    Args:
        bucket: The destination's bucket.
        folder: The destination's staging prefix, without a "/" at its end.
        job_id: Whose.
    """

    def __init__(self, bucket: Bucket, folder: str, job_id: JobId) -> None:
        self._bucket = bucket
        self.job_id = job_id
        self._root = f"{folder}/{job_id}/"

    def keep_open(self, name: str, file: str, upload: Upload) -> str:
        """Note that an upload was begun; return the key of the note."""
        key = f"{self._file(name, file)}/{secrets.token_hex(8)}.{_OPEN}"
        record = _OpenUpload(key=upload.key, upload_id=upload.id)
        self._bucket.put(key, record.model_dump_json().encode())
        return key

    def keep_upload(self, name: str, file: str, about: StagedFile, upload: StagedUpload) -> None:
        """Stage a file whose upload has every part."""
        self._bucket.put(f"{self._file(name, file)}/{_leaf(about)}.{_UPLOAD}", upload.model_dump_json().encode())

    def keep_content(self, name: str, file: str, about: StagedFile, content: bytes | bytearray) -> None:
        """Stage a file's content."""
        self._bucket.put(f"{self._file(name, file)}/{_leaf(about)}.{_CONTENT}", content)

    def pick(self, name: str, files: Mapping[str, StagedFile]) -> dict[str, StagedObject]:
        """Return where each of `files` is staged.

        Raises:
            StagedFileLost: One is not staged.
            SinkError: One is staged with other bytes only, or another one is staged too.
        """
        staged: dict[str, dict[str, StagedObject]] = {}
        for output, file, leaf, kind in self._entries(f"{flat(name)}/"):
            if kind != _OPEN:
                place = StagedObject(f"{self._root}{output}/{file}/{leaf}.{kind}", kind == _CONTENT)
                staged.setdefault(file, {})[leaf] = place
        expected = {file: {_leaf(about)} for file, about in files.items()}
        wrong = [
            f"{file}: {_said(*expected.get(file, ()))} expected, {_said(*staged.get(file, ()))} found"
            for file in sorted(expected.keys() | staged.keys())
            if not expected.get(file, set()) & staged.get(file, {}).keys()
        ]
        if wrong:
            kind_of_error = SinkError if expected.keys() <= staged.keys() else StagedFileLost
            raise kind_of_error(f"output {name}: staged files are not as planned: {'; '.join(wrong)}", output=name)
        return {file: staged[file][_leaf(about)] for file, about in files.items()}

    def read_upload(self, place: StagedObject) -> StagedUpload:
        """Return what was noted of a staged upload.

        Raises:
            StagedFileLost: The note is gone.
            StagedFileCorrupted: It is not what this service wrote.
        """
        return _parse(StagedUpload, self._read(place.key), self._bucket.uri(place.key))

    def read_content(self, place: StagedObject) -> bytes:
        """Return the content of a staged file.

        Raises:
            StagedFileLost: It is gone.
        """
        return self._read(place.key)

    def outputs(self) -> list[str]:
        """Return the names of the outputs of which something is staged, or was begun."""
        return sorted({output.replace("~", "/") for output, *_ in self._entries("")})

    def abort_uploads(self) -> None:
        """Abort every upload that was begun and not completed since."""
        notes = ("/".join(entry[:3]) for entry in self._entries("") if entry[3] == _OPEN)
        at_once(self._abort, [f"{self._root}{note}.{_OPEN}" for note in notes])

    def keys(self) -> list[str]:
        """Return the key of everything that is staged."""
        return [self._root + key for key in self._bucket.sizes(self._root)]

    def check_writable(self) -> None:
        """Put and delete an empty object."""
        self._bucket.put(f"{self._root}.probe", b"")
        self._bucket.delete(f"{self._root}.probe")

    def _abort(self, note: str) -> None:
        raw = self._bucket.read(note)
        if raw is not None:
            record = _parse(_OpenUpload, raw, self._bucket.uri(note))
            self._bucket.abort_upload(Upload(record.key, record.upload_id))

    def _file(self, name: str, file: str) -> str:
        return f"{self._root}{flat(name)}/{file}"

    def _read(self, key: str) -> bytes:
        content = self._bucket.read(key)
        if content is None:
            raise StagedFileLost(f"{self._bucket.uri(key)}: a staged file is gone; submit the job again", key=key)
        return content

    def _entries(self, below: str) -> Iterator[tuple[str, str, str, str]]:
        """Yield output, file, leaf and kind of every staged object."""
        for key in self._bucket.sizes(self._root + below):
            found = _ENTRY.fullmatch(below + key)
            if found is not None:
                yield found[1], found[2], found[3], found[4]


def flat(name: str) -> str:
    """Return an output's name as one part of a key: '~' is in no output name, so no two names meet."""
    return name.replace("/", "~")


def _leaf(about: StagedFile) -> str:
    return f"{about.size_bytes}-{about.sha256}"


def _said(*leaves: str) -> str:
    parted = [leaf.partition("-") for leaf in sorted(leaves)]
    return " and ".join(f"{size_bytes} bytes of sha256 {sha256}" for size_bytes, _, sha256 in parted) or "none"


def _parse(model: type[M], raw: bytes, where: str) -> M:
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise StagedFileCorrupted(f"{where}: not what this service wrote there; submit the job again") from error
