"""Read a checkpoint from a Hub repository at one commit, which is settled when the source is opened."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from huggingface_hub.hf_api import ModelInfo, RepoFile, RepoSibling

from crossfade_core.errors import ShortRead, SourceError, SourceNotFound
from crossfade_core.ports import FileInfo, Span
from crossfade_core.source_ref import HubRef
from crossfade_registries.first_bytes import FirstBytes
from crossfade_registries.hub.cache import HubCache
from crossfade_registries.hub.client import HUB_ERRORS, HfApi, source_error
from crossfade_registries.hub.download import HubDownload
from crossfade_registries.plain_names import describe_unlisted, is_plain
from crossfade_registries.read_ahead import ReadAhead
from crossfade_registries.retrying import Patience, retried

LISTING_SECONDS: Final = 60.0


class HubSource:
    """The files at the top of a repository, at the commit that its revision named when it was opened.

    Nothing but these files can be asked for: a name that the commit does not list is refused here.

    Args:
        api: Of the Hub.
        ref: Repository and revision.
        cache: A hub cache to read from what it already holds; None for the client's own.
        patience: With the Hub and its storage.

    Raises:
        SourceNotFound: There is no such repository or revision, or the repository has moved.
        SourceDenied: The Hub does not let this service read it.
        SourceUnavailable: The Hub cannot be reached, also after trying again.
    """

    def __init__(self, api: HfApi, ref: HubRef, *, cache: Path | None, patience: Patience = Patience()) -> None:  # noqa: B008  (frozen)
        self._api, self._patience = api, patience
        info = retried(lambda: _ask(api, ref), patience)
        self._pinned = HubRef(ref.repo, _commit(info, ref))
        self._files = _list_files(info, self._pinned)
        self._cache = HubCache(cache, self._pinned)
        self._download = HubDownload(api, self._pinned, self._files, patience)
        self._first = FirstBytes(self._download.fetch)
        self._ahead = ReadAhead(self._download.fetch)
        self._is_expecting = False

    @property
    def uri(self) -> str:
        """The URI with the commit in the revision's place."""
        return self._pinned.uri

    def files(self) -> Mapping[str, FileInfo]:
        """Return the files at the top of the repository by name, as listed when it was opened; commits never change."""
        return self._files

    def unlisted(self) -> Mapping[str, str]:
        """Return the other files of the commit by path.

        Raises:
            SourceNotFound: The repository or the commit is gone.
            SourceDenied: The Hub does not let this service read it.
            SourceUnavailable: The Hub cannot be reached, also after trying again.
        """
        paths = retried(lambda: _list_tree(self._api, self._pinned), self._patience)
        return {path: describe_unlisted(path) for path in sorted(paths) if path not in self._files}

    def expect(self, spans: Sequence[Span]) -> None:
        """Fetch these spans ahead, but for what the cache holds.

        Raises:
            SourceNotFound: The commit does not list a file.
        """
        self._is_expecting = bool(spans)
        self._ahead.expect([span for span in spans if not self._cache.holds(self._listed(span[0]))])

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of `file`: all of it, or an error.

        Raises:
            SourceNotFound: The commit does not list the file.
            ShortRead: The file ends first, or less came than was asked for.
            SourceDenied: The Hub does not let this service read it; it may be gated.
            SourceChanged: The Hub now says something else of the file than in its listing.
            SourceCorrupted: The storage holds another size than the Hub lists.
            SourceUnavailable: Reading failed, also after trying again.
        """
        info = self._listed(file)
        if offset + len(buffer) > info.size_bytes:
            raise ShortRead(
                f"{self.uri}/{file}: expected {len(buffer)} bytes at {offset}, the file has {info.size_bytes}",
                source=self.uri,
                file=file,
            )
        if self._cache.read_into(info, offset, buffer):
            return
        # What is expected is fetched once, by the read-ahead; keeping beginnings would fetch some of it again.
        done = 0 if self._is_expecting else self._first.read_into(file, info.size_bytes, offset, buffer)
        if done < len(buffer):
            self._ahead.read_into(file, offset + done, buffer[done:])

    def close(self) -> None:
        """Let go of cached files and connections."""
        self._ahead.close()
        self._download.close()
        self._cache.close()

    def _listed(self, file: str) -> FileInfo:
        if file not in self._files:
            raise SourceNotFound(
                f"{self.uri}: {file!r} is none of the {len(self._files)} files at the top of the repository",
                source=self.uri,
                file=file,
            )
        return self._files[file]


def _ask(api: HfApi, ref: HubRef) -> ModelInfo:
    try:
        return api.model_info(ref.repo, revision=ref.revision, files_metadata=True, timeout=LISTING_SECONDS)
    except HUB_ERRORS as error:
        raise source_error(error, ref.uri, source=ref.uri) from error


def _list_tree(api: HfApi, pinned: HubRef) -> list[str]:
    try:
        tree = list(api.list_repo_tree(pinned.repo, recursive=True, revision=pinned.revision))
    except HUB_ERRORS as error:
        raise source_error(error, pinned.uri, source=pinned.uri) from error
    return [entry.path for entry in tree if isinstance(entry, RepoFile)]


def _commit(info: ModelInfo, ref: HubRef) -> str:
    if info.id != ref.repo:
        # A redirect must not lead to what the server's configuration does not let jobs read.
        raise SourceNotFound(
            f"{ref.uri}: the repository is called {info.id} now; write hf://{info.id}@{ref.revision}", source=ref.uri
        )
    if not re.fullmatch(r"[0-9a-f]{40}", info.sha or "") or (ref.is_commit and info.sha != ref.revision):
        raise SourceError(f"{ref.uri}: the Hub names the commit {info.sha!r}, which cannot be", source=ref.uri)
    return str(info.sha)


def _list_files(info: ModelInfo, pinned: HubRef) -> dict[str, FileInfo]:
    top = [sibling for sibling in info.siblings or () if is_plain(sibling.rfilename)]
    return {sibling.rfilename: _describe(sibling, pinned) for sibling in sorted(top, key=lambda each: each.rfilename)}


def _describe(sibling: RepoSibling, pinned: HubRef) -> FileInfo:
    name, sha256 = sibling.rfilename, sibling.lfs.sha256 if sibling.lfs is not None else None
    version = sha256 or sibling.blob_id
    if sibling.size is None or version is None:
        raise SourceError(
            f"{pinned.uri}/{name}: the Hub lists it without size or id; this is no Hub that files can be pinned on",
            source=pinned.uri,
            file=name,
        )
    return FileInfo(name, sibling.size, version, sha256)
