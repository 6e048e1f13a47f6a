"""Publish outputs into a folder: staged beside it, synced, made visible by one rename.

Never follows a symbolic link below the destination (every component is opened with O_NOFOLLOW), never replaces what is
there unless the job says so, and then only an earlier output. Layout while a job runs:

    DESTINATION/.crossfade-staging/JOB/OUTPUT/          the finished files of one output
    DESTINATION/.crossfade-staging/JOB/.TOKEN.part      an unfinished file: one that comes too late for its output finds
                                                        no folder to move into
    DESTINATION/.crossfade-staging/JOB/.OUTPUT.commit   inode of the staged folder, written before the rename

A rename keeps the inode, so after a crash the commit file tells whether what stands at the destination is ours.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from crossfade_core.errors import (
    OutputExists,
    OutputNameUnsafe,
    SinkError,
    SinkUnavailable,
    StagedFileCorrupted,
    StagedFileLost,
)
from crossfade_core.job import JobId
from crossfade_core.output_name import check_output_name
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import StagedFile
from crossfade_registries.disk_refusal import disk_refusal
from crossfade_registries.local.folders import descend, exists, write_synced
from crossfade_registries.local.rename import exchange, rename_exclusive
from crossfade_registries.local.writer import LocalFileWriter

STAGING: Final = ".crossfade-staging"


class LocalSink:
    """One job's outputs in one destination folder.

    Args:
        folder: The destination; must exist.
        job_id: Whose staging area to use.
        overwrite: Whether an output already there is replaced (in one step, by exchange).
        direct: Whether large writes bypass the page cache where the file system can (O_DIRECT).
        requires_approval: Whether outputs are committed on approval only.
    """

    def __init__(
        self,
        folder: Path,
        job_id: JobId,
        *,
        overwrite: bool = False,
        direct: bool = True,
        requires_approval: bool = False,
    ) -> None:
        self._folder = folder.absolute()
        self._job_id = job_id
        self._overwrite = overwrite
        self._direct = direct
        self._requires_approval = requires_approval

    @property
    def requires_approval(self) -> bool:
        """Whether outputs are committed on approval only."""
        return self._requires_approval

    def check_free(self, name: str) -> None:
        """Say early what `commit` would refuse.

        Raises:
            OutputNameUnsafe: A component is unsafe, a symbolic link or no folder, or what is there is no output.
            OutputExists: Something of that name is there and the job does not overwrite.
            SinkUnavailable: The destination is not there or not writable.
        """
        _safe(name)
        *parents, last = name.split("/")
        with self._errors(name), self._root() as root:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=root):
                raise SinkUnavailable(
                    f"{self._folder}: not writable for this service; check its owner, and that its file system is not "
                    "mounted read-only",
                    output=name,
                )
            with (
                contextlib.suppress(FileNotFoundError),  # where a parent is missing, the name is free
                descend(root, parents, create=False) as parent,
            ):
                self._check_target(parent, last, name)

    def check_room(self, file_bytes: int, files: int) -> None:
        """Nothing passes through scratch: outputs are staged at the destination itself."""

    def scratch_bytes(self, file_bytes: int, files: int) -> int:
        """Return 0: scratch is not used."""
        return 0

    def create_file(self, name: str, file: str, size_bytes: int) -> LocalFileWriter:
        """Begin a staged file of `size_bytes`; it takes its name when the writer finishes.

        Raises:
            OutputNameUnsafe: The name or the file's name is unsafe.
            SinkUnavailable: The destination refused.
        """
        _safe(name)
        _safe(file)
        if "/" in file:
            raise OutputNameUnsafe(f"{file!r} is no plain file name", output=name)
        with self._errors(name), self._job() as job, descend(job, [_flat(name)], create=True):
            place = str(self._folder / name / file)
            return LocalFileWriter(job, _flat(name), file, size_bytes, place=place, direct=self._direct)

    def commit(self, name: str, files: Mapping[str, StagedFile]) -> str:
        """Publish the staged output in one rename and return its `file://` URI.

        Raises:
            OutputNameUnsafe: The name leads through a symbolic link, or what is to be replaced is no output.
            OutputExists: Something else of that name is there and the job does not overwrite.
            StagedFileLost: A staged file is missing.
            SinkError: One is extra or of another size.
            SinkUnavailable: The destination refused.
        """
        _safe(name)
        *parents, last = name.split("/")
        with self._errors(name), self._root() as root, self._job() as job:
            is_published = _is_published(root, job, name)
            if is_published and not self.holds(name, files):
                raise OutputExists(
                    f"{self._folder / name} was published by an attempt that was cut off, with another signature or "
                    "other words than now; submit the job again with overwrite",
                    output=name,
                )
            if not is_published:
                _seal(job, name, files, is_hashed=self._requires_approval)
            with descend(root, parents, create=True) as parent:
                if not is_published:
                    self._check_target(parent, last, name)
                    self._rename(job, parent, name)
                os.fsync(parent)
        return (self._folder / name).as_uri()

    def hand_over(self, name: str) -> Mapping[str, bytes]:
        """Return nothing: everything staged lies at the destination."""
        return {}

    def holds(self, name: str, files: Mapping[str, StagedFile]) -> bool:
        """Tell whether the published output consists of these files by name, size, and the content of its lineage.

        Raises:
            OutputNameUnsafe: The name leads through a symbolic link.
            SinkUnavailable: The destination refused.
        """
        _safe(name)
        expected = {file: staged.size_bytes for file, staged in files.items()}
        with (
            self._errors(name),
            self._root() as root,
            contextlib.suppress(FileNotFoundError),
            descend(root, name.split("/"), create=False) as output,
        ):
            if _sizes(output) != expected:
                return False
            lineage = os.open(LINEAGE_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=output)
            with open(lineage, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == files[LINEAGE_FILE].sha256
        return False

    def discard(self) -> None:
        """Remove everything this job has staged."""
        with self._errors(STAGING), self._root() as root, contextlib.suppress(FileNotFoundError):
            with descend(root, [STAGING], create=False) as staging:
                while exists(staging, self._job_id):
                    _remove(staging, self._job_id)
            with contextlib.suppress(OSError):  # other jobs are staging
                os.rmdir(STAGING, dir_fd=root)

    def _rename(self, job: int, parent: int, name: str) -> None:
        source, target = _flat(name), name.rsplit("/", 1)[-1]
        try:
            if self._overwrite and exists(parent, target):
                exchange(source, target, source_fd=job, target_fd=parent)
            else:
                rename_exclusive(source, target, source_fd=job, target_fd=parent)
        except FileExistsError as error:
            raise self._exists_error(name) from error

    def _check_target(self, parent: int, last: str, name: str) -> None:
        if not exists(parent, last):
            return
        if not self._overwrite:
            raise self._exists_error(name)
        with descend(parent, [last], create=False) as target:
            if not exists(target, LINEAGE_FILE):
                raise OutputNameUnsafe(
                    f"{self._folder / name} is no earlier output, it holds no {LINEAGE_FILE}; only outputs are "
                    "replaced: choose another output_name",
                    output=name,
                )

    def _exists_error(self, name: str) -> OutputExists:
        return OutputExists(
            f"{self._folder / name} exists; choose another output_name, or set overwrite to replace it", output=name
        )

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        try:
            root = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SinkUnavailable(f"{self._folder}: the destination's folder is not there; create it") from error
        try:
            yield root
        finally:
            os.close(root)

    @contextlib.contextmanager
    def _job(self) -> Iterator[int]:
        with self._root() as root, descend(root, [STAGING, self._job_id], create=True) as job:
            yield job

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except NotADirectoryError as error:
            raise OutputNameUnsafe(
                f"{self._folder / name}: a part of the path is a file or a symbolic link; outputs go to real folders",
                output=name,
            ) from error
        except OSError as error:
            raise disk_refusal(error, f"{self._folder / name}: {error.strerror}", output=name) from error


def _safe(name: str) -> None:
    try:
        check_output_name(name)
    except ValueError as error:
        raise OutputNameUnsafe(str(error), output=name) from error


def _flat(name: str) -> str:
    """One staging folder per output: '~' is in no output name, so no two names meet."""
    return name.replace("/", "~")


def _remove(folder: int, name: str) -> None:
    """Remove a folder; where a late writer finishes or drops a file in it at the same time, perhaps not all of it."""
    try:
        shutil.rmtree(name, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise


def _commit_file(name: str) -> str:
    """No output name begins with a dot, so this is no output's staging folder."""
    return f".{_flat(name)}.commit"


def _is_published(root: int, job: int, name: str) -> bool:
    *parents, last = name.split("/")
    try:
        with open(os.open(_commit_file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=job)) as file:
            ours = file.read()
        with descend(root, parents, create=False) as parent:
            there = os.stat(last, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return ours == str(there.st_ino)


def _sizes(folder: int) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}


def _seal(job: int, name: str, files: Mapping[str, StagedFile], *, is_hashed: bool) -> None:
    """Hold what is staged against `files`, make it durable, and note which folder it is.

    By size; by content too where it may have lain there for long.
    """
    expected = {file: staged.size_bytes for file, staged in files.items()}
    with descend(job, [_flat(name)], create=True) as staged:
        found = _sizes(staged)
        wrong = [
            f"{file}: {expected.get(file, 'no')} bytes expected, {found.get(file, 'none')} found"
            for file in sorted(found.keys() | expected.keys())
            if found.get(file) != expected.get(file)
        ]
        if wrong:
            kind_of_error = SinkError if expected.keys() <= found.keys() else StagedFileLost
            raise kind_of_error(f"output {name}: staged files are not as planned: {'; '.join(wrong)}", output=name)
        for file in files if is_hashed else ():
            _check_content(staged, name, file, files[file].sha256)
        os.fsync(staged)
        write_synced(job, _commit_file(name), str(os.fstat(staged).st_ino))


def _check_content(folder: int, name: str, file: str, sha256: str) -> None:
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise StagedFileCorrupted(
            f"output {name}: {file} was changed while it was staged: SHA-256 {sha256} expected, {found} found; retry "
            "the job",
            output=name,
            file=file,
        )
