"""A Hub for tests: the real huggingface_hub client talks to it over HTTP.

It has two origins, the Hub's own and that of its storage; `tests.fakes.hub_api` and `tests.fakes.hub_storage` say what
each answers. It counts what was read and written, and misbehaves on request. As a program of its own it is `python -m
tests.fakes.hub --folder DIR`; it prints its URLs as one line of JSON, and its counters are at `/_counters`.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.http_faults import Action, Throttle
from tests.fakes.hub_access import Token
from tests.fakes.hub_api import Api, start_repo
from tests.fakes.hub_attributes import is_large
from tests.fakes.hub_http import Origin
from tests.fakes.hub_objects import Objects, file_sha256
from tests.fakes.hub_repos import Change, Commit, Entry, Repo
from tests.fakes.hub_state import HubState
from tests.fakes.hub_storage import Storage
from tests.fakes.hub_traffic import Asked, Traffic
from tests.fakes.hub_xet import XetStore

ADMIN = "the-hub"
"""The author of what is put into repos without HTTP."""


class Hub:
    """A context manager; leaving it fails the test where the server itself failed.

    Args:
        folder: Where all its bytes are; keep it on one file system with the checkpoints, for hard links.
        port: Of the Hub's origin; 0 for any that is free.
        storage_port: Of the storage's origin.
        bytes_per_second: The rate of all bodies together, each way; None for no limit.
        chunk_bytes: LFS objects larger than this go up in parts of this size; None for always whole.
        page_entries: How many entries one page of a listing holds; None for the Hub's own 1000.
        shared_objects: Whether an object of one repo is there for every repo.
        xet_dir: Where to keep Xet's CAS folders; None for a Hub without Xet.
        shared_xet: Whether all uploads go to one CAS; then only one process at a time can upload.
        url_seconds: How long the URLs of the storage are good for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        storage_port: int = 0,
        bytes_per_second: float | None = None,
        chunk_bytes: int | None = None,
        page_entries: int | None = None,
        shared_objects: bool = False,
        xet_dir: Path | None = None,
        shared_xet: bool = False,
        url_seconds: float = 3600,
    ) -> None:
        traffic = Traffic(Throttle(bytes_per_second), Throttle(bytes_per_second))
        objects = Objects(folder, is_shared=shared_objects)
        xet = None if xet_dir is None else XetStore(xet_dir, is_shared=shared_xet)
        self.traffic = traffic
        self.state = HubState(objects, traffic, xet, chunk_bytes, page_entries)
        self.storage = Storage(self.state, url_seconds=url_seconds)
        self._origins = (
            Origin("hub", port, traffic, Api(self.state, self.storage).answer),
            Origin("storage", storage_port, traffic, self.storage.answer),
        )
        self.state.hub_url, self.state.storage_url = self.url, self.storage_url = [each.url for each in self._origins]

    def __enter__(self) -> Self:
        for origin in self._origins:
            origin.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.traffic.is_stopping.set()
        for origin in self._origins:
            origin.stop()
        if self.traffic.crashes and error is None:
            raise AssertionError(f"the Hub of the tests failed: {self.traffic.crashes}") from self.traffic.crashes[0]

    @property
    def requests(self) -> list[Asked]:
        """What was asked so far, in order."""
        with self.traffic.lock:
            return list(self.traffic.requests)

    @property
    def bytes_read(self) -> Counter[tuple[str, str]]:
        """Bytes of file bodies sent, by repo and file."""
        with self.traffic.lock:
            return Counter(self.traffic.bytes_read)

    @property
    def bytes_written(self) -> Counter[tuple[str, str]]:
        """Bytes of files received whole, by repo and SHA-256, or path for regular files."""
        with self.traffic.lock:
            return Counter(self.traffic.bytes_written)

    def fail(
        self,
        action: Action,
        *,
        method: str | None = None,
        path_contains: str = "",
        origin: str | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Let something go wrong; `tests.fakes.http_faults` says what can. Origins are `hub` and `storage`."""
        faults = self.traffic.faults
        faults.add(action, method=method, path_contains=path_contains, origin=origin, skip=skip, times=times)

    def add_token(
        self, token: str, user: str, *, read: Collection[str] = (), write: Collection[str] | None = None
    ) -> str:
        """Make a token known: its user's namespace is writable unless `write` says otherwise."""
        self.state.access.tokens[token] = Token(user, frozenset(read), frozenset((user,) if write is None else write))
        return token

    def remove_token(self, token: str) -> None:
        """Let a token be refused from here on."""
        del self.state.access.tokens[token]

    def grant(self, repo: str, user: str) -> None:
        """Let a user through the gate of a repo."""
        self.repo(repo).granted.add(user)

    def add_repo(
        self, id: str, folder: Path | None = None, *, private: bool = False, gated: bool = False, xet: bool = False
    ) -> str:
        """Add a model repo, with the files of a folder if one is given, and return its head's commit.

        Files are hard-linked where that is possible: do not write into the folder's own afterwards.

        Args:
            id: `namespace/name`.
            folder: Read with its subfolders.
            private: Whether only readers of the namespace may know of it.
            gated: Whether only writers and those granted may have its files.
            xet: Whether its large files are to be kept by Xet.
        """
        repo = Repo(id, private=private, gated="manual" if gated else False)
        start_repo(self.state, repo, ADMIN)
        if folder is None:
            return repo.at("main").id
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return self.push(id, {path.relative_to(folder).as_posix(): path for path in paths}, xet=xet)

    def push(
        self,
        id: str,
        files: Mapping[str, bytes | Path | None],
        *,
        branch: str = "main",
        title: str = "Push",
        xet: bool = False,
    ) -> str:
        """Commit files to a branch, as somebody else would, and return the commit.

        Args:
            id: `namespace/name`.
            files: Content or file by path; None removes.
            branch: Made of main where it is missing.
            title: Of the commit.
            xet: Whether large files are to be kept by Xet.
        """
        repo = self.repo(id)
        if branch not in repo.branches:
            repo.add_ref(repo.branches, branch, "main")
        attributes = self.state.content(repo, branch, ".gitattributes")
        changes: list[Change] = []
        for path, content in files.items():
            entry = None if content is None else self._keep(repo, path, content, attributes, xet=xet)
            changes.append((path, entry))
        return repo.add_commit(branch, changes, title=title, author=ADMIN, parent=None).id

    def repo(self, id: str) -> Repo:
        """Return a model repo; raises HubError where there is none."""
        return self.state.repos.get(id)

    def repos(self) -> list[str]:
        """Return the ids of the model repos."""
        return sorted(repo.id for repo in self.state.repos if repo.kind == "model")

    def commits(self, id: str, revision: str = "main") -> list[Commit]:
        """Return the commits that led to a revision, newest first."""
        return self.repo(id).history(revision)

    def tree(self, id: str, revision: str = "main") -> Mapping[str, Entry]:
        """Return the files of a revision by path."""
        return self.repo(id).at(revision).tree

    def read(self, id: str, path: str, revision: str = "main") -> bytes:
        """Return the content of a file."""
        return self.path(id, path, revision).read_bytes()

    def path(self, id: str, path: str, revision: str = "main") -> Path:
        """Return a file on disk with the content of a file; never write to it."""
        repo = self.repo(id)
        return self.state.path_of(repo, repo.entry(revision, path)[1])

    def _keep(self, repo: Repo, path: str, content: bytes | Path, attributes: bytes, *, xet: bool) -> Entry:
        source = content if isinstance(content, Path) else self.state.objects.blob(self.state.objects.put_blob(content))
        size = source.stat().st_size
        if not is_large(path, size, attributes):
            return Entry(size, self.state.objects.put_blob(source.read_bytes()))
        if xet and self.state.xet is not None:
            return self.state.large_entry(repo, self.state.xet.upload(source).sha256)
        sha256 = file_sha256(source)
        if not self.state.objects.has(repo.key, sha256):
            self.state.objects.link(source, repo.key, sha256)
        return self.state.large_entry(repo, sha256)


if __name__ == "__main__":
    from tests.fakes.hub_program import main

    main()
