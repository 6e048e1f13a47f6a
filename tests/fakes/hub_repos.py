"""The repos of the Hub of the tests: commits, branches, tags, and what is at a path. No HTTP, and no bytes."""

import hashlib
import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from tests.fakes.hub_refusal import HubError, entry_not_found, repo_not_found, revision_not_found

_REF_NAME = re.compile(r"(?![-/.])(?!.*(\.\.|//|/\.|@\{))[^\s~^:?*\[\\\x00-\x1f\x7f]+(?<![/.])(?<!\.lock)")
"""Source: https://git-scm.com/docs/git-check-ref-format"""
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class XetFile:
    """A file in a Xet CAS: its Merkle hash, its size, and in which of the Hub's CAS folders it lies."""

    hash: str
    size: int
    sha256: str
    cas: str


@dataclass(frozen=True)
class Entry:
    """A file in a commit: `oid` is git's, `sha256` is there where LFS or Xet hold the content."""

    size: int
    oid: str
    sha256: str | None = None
    xet: XetFile | None = None
    commit: str = ""


@dataclass(frozen=True)
class Commit:
    """One commit with its whole tree by path."""

    id: str
    parent: str | None
    title: str
    message: str
    author: str
    date: datetime
    tree: Mapping[str, Entry]


Change = tuple[str, Entry | None]
"""A path and what is to be there; None removes, a path ending in a slash removes a folder."""


@dataclass
class Repo:
    """One repo; its lock is held while it changes."""

    id: str
    kind: str = "model"
    private: bool = False
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def namespace(self) -> str:
        """The user or organisation it belongs to."""
        return self.id.partition("/")[0]

    @property
    def key(self) -> str:
        """A name no other repo of any kind has."""
        return f"{self.kind}s/{self.id}"

    def at(self, revision: str) -> Commit:
        """Return the commit that a branch, a tag or the beginning of a commit's id names.

        Raises:
            HubError: 404, nothing has that name.
        """
        with self.lock:
            named = self.branches.get(revision) or self.tags.get(revision)
            if named is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
                named = next((each for each in self.commits if each.startswith(revision)), None)
            if named is None:
                raise revision_not_found(revision)
            return self.commits[named]

    def entry(self, revision: str, path: str) -> tuple[Commit, Entry]:
        """Return a file and the commit it was found in.

        Raises:
            HubError: 404, no such revision or no such file.
        """
        commit = self.at(revision)
        if path not in commit.tree:
            raise entry_not_found(path, commit.id)
        return commit, commit.tree[path]

    def history(self, revision: str) -> list[Commit]:
        """Return the commits that led to a revision, newest first."""
        commits, next_id = [], self.at(revision).id
        while next_id is not None:
            commits.append(self.commits[next_id])
            next_id = commits[-1].parent
        return commits

    def add_commit(
        self, branch: str, changes: Sequence[Change], *, title: str, message: str = "", author: str, parent: str | None
    ) -> Commit:
        """Add a commit to a branch: all of its changes or none.

        Args:
            branch: A branch that exists, or any for the first commit of all.
            changes: In order.
            title: Its first line.
            message: The rest.
            author: A user.
            parent: The commit that the branch must be at, or its beginning; None for wherever it is.

        Raises:
            HubError: 404, no such branch; 412, the branch has moved; 400 or 404 for a change that makes no sense.
        """
        with self.lock:
            if self.commits and branch not in self.branches:
                raise revision_not_found(branch)
            head = self.branches.get(branch)
            if parent is not None and not (head or "").startswith(parent):
                raise HubError(412, f"A commit has happened since. Please refresh and try again. Head is {head}")
            new_id = hashlib.sha1(f"{next(_NUMBERS)} {self.key} {head} {title}".encode()).hexdigest()
            tree = _changed(self.commits[head].tree if head else {}, changes, new_id, head or "")
            commit = Commit(new_id, head, title, message, author, datetime.now(UTC), MappingProxyType(tree))
            self.commits[new_id] = commit
            self.branches[branch] = new_id
            return commit

    def add_ref(self, refs: dict[str, str], name: str, revision: str) -> None:
        """Add a branch or a tag.

        Raises:
            HubError: 409, it exists; 400, git has no such names; 404, no such revision.
        """
        with self.lock:
            if name in refs:
                raise HubError(409, f"Reference already exists: {name}")
            if not _REF_NAME.fullmatch(name):
                raise HubError(400, f"Invalid reference name: {name}")
            refs[name] = self.at(revision).id


class Repos:
    """Every repo by kind and id."""

    def __init__(self) -> None:
        self._repos: dict[str, Repo] = {}
        self._lock = threading.Lock()

    def __iter__(self):
        with self._lock:
            return iter(list(self._repos.values()))

    def get(self, id: str, kind: str = "model") -> Repo:
        """Return a repo.

        Raises:
            HubError: 404, there is none.
        """
        with self._lock:
            repo = self._repos.get(f"{kind}s/{id}")
        if repo is None:
            raise repo_not_found()
        return repo

    def find(self, id: str, kind: str = "model") -> Repo | None:
        """Return a repo, or None where there is none."""
        with self._lock:
            return self._repos.get(f"{kind}s/{id}")

    def add(self, repo: Repo) -> Repo:
        """Add a repo.

        Raises:
            HubError: 409, it exists; 400, that is no repo's name.
        """
        if not _REPO_ID.fullmatch(repo.id) or "--" in repo.id or ".." in repo.id or repo.id.endswith(".git"):
            raise HubError(400, f"Invalid repo name: {repo.id}")
        with self._lock:
            if self._repos.setdefault(repo.key, repo) is not repo:
                raise HubError(409, f"You already created this {repo.kind} repo: {repo.id}")
        return repo

    def remove(self, repo: Repo) -> None:
        """Remove a repo and all its commits."""
        with self._lock:
            self._repos.pop(repo.key, None)


def _changed(tree: Mapping[str, Entry], changes: Sequence[Change], commit: str, head: str) -> dict[str, Entry]:
    new = dict(tree)
    for path, entry in changes:
        _check_path(path)
        if entry is not None:
            new[path] = replace(entry, commit=commit)
            continue
        gone = [name for name in new if name == path or (path.endswith("/") and name.startswith(path))]
        if not gone:
            raise entry_not_found(path, head, "A file with this name doesn't exist")
        for name in gone:
            del new[name]
    _check_no_file_is_a_folder(new)
    return new


def _check_path(path: str) -> None:
    parts = path.removesuffix("/").split("/")
    if any(part in ("", ".", "..", ".git") for part in parts) or "\\" in path:
        raise HubError(400, f"Invalid path in repo: {path!r}")


def _check_no_file_is_a_folder(tree: Mapping[str, Entry]) -> None:
    for path in tree:
        parts = path.split("/")
        for length in range(1, len(parts)):
            if "/".join(parts[:length]) in tree:
                raise HubError(400, f"{path!r} lies in what is a file")
