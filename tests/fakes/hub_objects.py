"""Where the Hub of the tests keeps bytes: on disk, by digest. At most a block of a file is in memory.

An upload lies apart until its digest was verified; only then does the object exist.
"""

import hashlib
import math
import os
import secrets
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.hub_attributes import git_oid
from tests.fakes.hub_refusal import HubError

_SHARED = "shared"


@dataclass
class Multipart:
    """An upload in parts, each written to its place in one file."""

    path: Path
    repo_key: str
    sha256: str
    size: int
    chunk_bytes: int
    etags: dict[int, str] = field(default_factory=dict)

    @property
    def part_count(self) -> int:
        """How many parts there are; they are numbered from 1."""
        return math.ceil(self.size / self.chunk_bytes)

    def span(self, number: int) -> tuple[int, int]:
        """Return where a part begins and how large it must be."""
        start = (number - 1) * self.chunk_bytes
        return start, min(self.chunk_bytes, self.size - start)


class Objects:
    """Large objects by repo and SHA-256, and regular files by git's name.

    Args:
        folder: Where to keep them; made where it is missing.
        is_shared: Whether one repo's object is every repo's.
    """

    def __init__(self, folder: Path, *, is_shared: bool = False) -> None:
        self._folder = folder
        self._is_shared = is_shared
        self._lock = threading.Lock()
        self._multiparts: dict[str, Multipart] = {}
        for name in ("objects", "incoming", "blobs"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def path(self, repo_key: str, sha256: str) -> Path:
        """Return where a repo's object is, if it is there."""
        return self._folder / "objects" / (_SHARED if self._is_shared else repo_key) / sha256[:2] / sha256

    def has(self, repo_key: str, sha256: str) -> bool:
        """Tell whether a repo's object is there."""
        return self.path(repo_key, sha256).exists()

    def staging(self) -> Path:
        """Return a path that nobody else has."""
        return self._folder / "incoming" / secrets.token_hex(8)

    def receive_object(self, repo_key: str, sha256: str, blocks: Iterable[memoryview]) -> int:
        """Write blocks to where an object lies until it is verified: all of them, or none. Return how many bytes."""
        staged = self.staging()
        try:
            received = self.receive(staged, 0, blocks)
            staged.replace(self._unverified(repo_key, sha256))
        finally:
            staged.unlink(missing_ok=True)
        return received

    def receive(self, path: Path, offset: int, blocks: Iterable[memoryview]) -> int:
        """Write blocks to a file from `offset` on; the rest of it stays as it is. Return how many bytes there were."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            position = offset
            for block in blocks:
                written = 0
                while written < len(block):
                    written += os.pwrite(descriptor, block[written:], position + written)
                position += written
        finally:
            os.close(descriptor)
        return position - offset

    def start_multipart(self, repo_key: str, sha256: str, size: int, chunk_bytes: int) -> tuple[str, Multipart]:
        """Begin an upload in parts and return its id."""
        multipart = Multipart(self.staging(), repo_key, sha256, size, chunk_bytes)
        with self._lock:
            self._multiparts[multipart.path.name] = multipart
        return multipart.path.name, multipart

    def multipart(self, id: str) -> Multipart:
        """Return an upload in parts.

        Raises:
            HubError: 404, no such upload is under way.
        """
        with self._lock:
            if id not in self._multiparts:
                raise HubError(404, f"The specified upload does not exist: {id}")
            return self._multiparts[id]

    def complete_multipart(self, id: str, etags: dict[int, str]) -> None:
        """End an upload in parts.

        Raises:
            HubError: 404, no such upload is under way; 400, not exactly its parts were named.
        """
        multipart = self.multipart(id)
        if etags != multipart.etags or sorted(etags) != list(range(1, multipart.part_count + 1)):
            raise HubError(400, f"One or more of the specified parts could not be found: {sorted(etags)}")
        with self._lock:
            self._multiparts.pop(id, None)
            multipart.path.replace(self._unverified(multipart.repo_key, multipart.sha256))

    def verify(self, repo_key: str, sha256: str, size: int) -> None:
        """Read what was uploaded, and take it as the object where digest and size are right.

        Raises:
            HubError: 404, nothing was uploaded; 422, it is something else, which is dropped.
        """
        if self.has(repo_key, sha256):
            return
        path = self._unverified(repo_key, sha256)
        if not path.exists():
            raise HubError(404, f"Nothing was uploaded as {sha256}")
        found_bytes, found = path.stat().st_size, file_sha256(path)
        if (found, found_bytes) != (sha256, size):
            path.unlink()
            raise HubError(422, f"{size} bytes of digest {sha256} were announced, {found_bytes} of {found} came")
        self.adopt(path, repo_key, sha256)

    def adopt(self, path: Path, repo_key: str, sha256: str) -> None:
        """Move a file of the right digest to its place."""
        target = self.path(repo_key, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)

    def link(self, path: Path, repo_key: str, sha256: str) -> None:
        """Take a file of the right digest as an object, by a hard link where that is possible."""
        staged = self.staging()
        try:
            os.link(path, staged)
        except OSError:
            shutil.copyfile(path, staged)
        self.adopt(staged, repo_key, sha256)

    def put_blob(self, content: bytes) -> str:
        """Keep a regular file and return git's name of it."""
        oid = git_oid(content)
        staged = self.staging()
        staged.write_bytes(content)
        staged.replace(self.blob(oid))
        return oid

    def blob(self, oid: str) -> Path:
        """Return where a regular file is."""
        return self._folder / "blobs" / oid

    def _unverified(self, repo_key: str, sha256: str) -> Path:
        return self._folder / "incoming" / f"{repo_key.replace('/', '--')}--{sha256}"


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
