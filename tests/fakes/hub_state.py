"""What the Hub of the tests is made of, and what its origins ask of all of it together."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.hub_access import Access
from tests.fakes.hub_attributes import git_oid, pointer
from tests.fakes.hub_objects import Objects
from tests.fakes.hub_refusal import HubError
from tests.fakes.hub_repos import Entry, Repo, Repos, XetFile
from tests.fakes.hub_traffic import Traffic
from tests.fakes.hub_xet import XetStore


@dataclass
class HubState:
    """Everything the Hub knows.

    Args:
        objects: The bytes.
        traffic: What passed, and how it passes.
        xet: Where Xet files are; None for a Hub without Xet.
        chunk_bytes: Objects larger than this go up in parts of this size; None for always whole.
        page_entries: How many entries one page of a listing holds; None for the Hub's own 1000.
        hub_url: The first origin.
        storage_url: The second.
    """

    objects: Objects
    traffic: Traffic
    xet: XetStore | None = None
    chunk_bytes: int | None = None
    page_entries: int | None = None
    hub_url: str = ""
    storage_url: str = ""
    repos: Repos = field(default_factory=Repos)
    access: Access = field(default_factory=Access)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def xet_file(self, sha256: str) -> XetFile | None:
        """Return what Xet holds of this digest, or None."""
        return self.xet.find(sha256) if self.xet is not None else None

    def has_object(self, repo: Repo, sha256: str) -> bool:
        """Tell whether the bytes of this digest need not be sent."""
        return self.objects.has(repo.key, sha256) or self.xet_file(sha256) is not None

    def large_entry(self, repo: Repo, sha256: str, size: int | None = None) -> Entry:
        """Return the entry of a large file whose bytes are there.

        Raises:
            HubError: 400, they are not, or there are not so many.
        """
        xet = self.xet_file(sha256)
        if xet is None and not self.objects.has(repo.key, sha256):
            raise HubError(400, f"LFS pointer pointed to a file that does not exist: {sha256}")
        found = xet.size if xet is not None else self.objects.path(repo.key, sha256).stat().st_size
        if size not in (None, found):
            raise HubError(400, f"LFS pointer says {size} bytes of {sha256}, which has {found}")
        return Entry(found, git_oid(pointer(sha256, found)), sha256, xet)

    def object_path(self, repo: Repo, sha256: str) -> Path:
        """Return a file with the bytes of this digest; what only Xet holds is fetched from there first.

        Raises:
            HubError: 404, the bytes are nowhere.
        """
        path = self.objects.path(repo.key, sha256)
        with self._one_at_a_time:
            xet = None if path.exists() else self.xet_file(sha256)
            if xet is not None and self.xet is not None:
                staged = self.objects.staging()
                self.xet.download(xet, staged)
                self.objects.adopt(staged, repo.key, sha256)
        if not path.exists():
            raise HubError(404, f"NoSuchKey: {sha256}")
        return path

    def path_of(self, repo: Repo, entry: Entry) -> Path:
        """Return a file with the content of an entry."""
        return self.objects.blob(entry.oid) if entry.sha256 is None else self.object_path(repo, entry.sha256)

    def content(self, repo: Repo, revision: str, path: str) -> bytes:
        """Return the content of a small file; empty where there is none."""
        with repo.lock:
            if not repo.commits:
                return b""
            entry = repo.at(revision).tree.get(path)
        return b"" if entry is None else self.path_of(repo, entry).read_bytes()
