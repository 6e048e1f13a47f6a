"""The keys of one output: what stands there, whose it is, and whether it may be written over."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from crossfade_core.errors import OutputExists, OutputNameUnsafe
from crossfade_core.job import JobId
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import StagedFile
from crossfade_registries.s3.bucket import Bucket


@dataclass(frozen=True)
class OutputFolder:
    """The keys directly below an output's name. All methods raise SinkError as the store refuses.

    Attributes:
        bucket: The destination's bucket.
        name: The output.
        prefix: What its files' keys begin with; ends in "/".
    """

    bucket: Bucket
    name: str
    prefix: str

    @property
    def uri(self) -> str:
        """The output's own URI."""
        return self.bucket.uri(self.prefix).rstrip("/")

    def files(self) -> set[str]:
        """Return the names of the files that stand there, complete or not."""
        return self.bucket.children(self.prefix)[0]

    def is_published(self, job_id: JobId, files: Mapping[str, StagedFile]) -> bool:
        """Whether the job has published these files there: its lineage, always the last, is theirs."""
        standing = self.bucket.head(self.prefix + LINEAGE_FILE)
        return standing is not None and standing.job == job_id and self._has_lineage_of(files)

    def holds(self, files: Mapping[str, StagedFile]) -> bool:
        """Whether these files stand there, by name and size, with the lineage that tells of them."""
        sizes = {file: staged.size_bytes for file, staged in files.items()}
        standing = {key: size for key, size in self.bucket.sizes(self.prefix).items() if "/" not in key}
        return standing == sizes and self._has_lineage_of(files)

    def _has_lineage_of(self, files: Mapping[str, StagedFile]) -> bool:
        expected = files.get(LINEAGE_FILE)
        content = self.bucket.read(self.prefix + LINEAGE_FILE)
        return expected is not None and hashlib.sha256(content or b"").hexdigest() == expected.sha256

    def check_writable_over(self, job_id: JobId, *, overwrite: bool) -> None:
        """Refuse to write where something stands that is not the job's own, nor an earlier output to replace.

        What is left of an earlier output, without lineage.json, is known by the mark that all of its files bear.

        Raises:
            OutputExists: Something is there and the job does not overwrite.
            OutputNameUnsafe: It does, but what is there is no earlier output.
        """
        files, folders = self.bucket.children(self.prefix)
        if not files and not folders:
            return
        if LINEAGE_FILE in files and self.job_of(LINEAGE_FILE) == job_id:
            return  # published by a process that died before it could say so
        if not overwrite:
            what = "exists" if LINEAGE_FILE in files else f"holds {', '.join(sorted(files | folders)[:3])}"
            raise OutputExists(
                f"{self.uri} {what}; choose another output_name, or set overwrite to replace it", output=self.name
            )
        if LINEAGE_FILE not in files and (folders or not all(self.job_of(file) for file in files)):
            raise OutputNameUnsafe(
                f"{self.uri} is no earlier output, it holds no {LINEAGE_FILE}; only outputs are replaced: choose "
                "another output_name",
                output=self.name,
            )

    def remove(self, job_id: JobId) -> None:
        """Delete what a job has put there, unless it has published it."""
        files = self.files()
        if LINEAGE_FILE in files and self.job_of(LINEAGE_FILE) == job_id:
            return
        for file in sorted(files):
            if self.job_of(file) == job_id:
                self.bucket.delete(self.prefix + file)

    def job_of(self, file: str) -> str:
        """Return the job that put a file there; "" where it was none, or the file is gone."""
        standing = self.bucket.head(self.prefix + file)
        return standing.job if standing is not None else ""
