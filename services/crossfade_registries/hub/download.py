"""Fetch byte ranges of one commit's files from a Hub, and from the storage that its answers point to.

The Hub is asked once a file where its bytes lie; ranges are then fetched from there, until that link expires. The
credential goes to the Hub alone: a storage is another origin, its links are signed. Files in Xet are read this way too:
their storage serves ranges like any other.
"""

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urljoin

import httpx2
from huggingface_hub import hf_hub_url, hf_raise_for_status
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from crossfade_core.errors import ShortRead, SourceChanged, SourceCorrupted, SourceError, SourceUnavailable
from crossfade_core.ports import FileInfo
from crossfade_core.source_ref import HubRef
from crossfade_registries.hub.client import USER_AGENT, HfApi, authorisation, open_session, source_error
from crossfade_registries.hub.storage import Storage
from crossfade_registries.retrying import Patience, retried

SILENCE_SECONDS: Final = 30.0
"""Then the rest of a range is asked for again: sooner than of a commit, for here nothing is lost by it."""
_MAX_REDIRECTS: Final = 10
_REFUSED: Final = frozenset({400, 401, 403, 404, 410})
"""What storages say to a signed link that has expired: S3 and CloudFront 403, others what they like."""
_CONTENT_RANGE: Final = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")
_AS_IT_IS: Final = {"accept-encoding": "identity"}
_PIECE_BYTES: Final = 256 << 10


class HubDownload:
    """The files of one commit, by ranges. Safe to use from several threads.

    Args:
        api: Of the Hub.
        pinned: Repository and commit.
        files: What the commit holds.
        patience: With the Hub and its storage.
    """

    def __init__(self, api: HfApi, pinned: HubRef, files: Mapping[str, FileInfo], patience: Patience) -> None:
        self._api, self._pinned, self._files, self._patience = api, pinned, files, patience
        self._hub = _origin(api.endpoint)
        self._session = open_session(silence_seconds=SILENCE_SECONDS)
        self._storage = Storage(USER_AGENT, SILENCE_SECONDS)
        self._links: dict[str, str] = {}
        self._linking = {name: threading.Lock() for name in files}
        self._under_way = 0
        self._is_closed = False
        self._closing = threading.Lock()

    def fetch(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of a file of the commit, going on where a transfer broke.

        Raises:
            SourceError: Reading failed, also after trying again.
        """
        info, rest = self._files[file], _Rest(offset, buffer)
        with self._open():
            retried(lambda: self._fetch_rest(info, rest), self._patience)

    def close(self) -> None:
        """Let fetches under way end with an error soon; the last of them closes the connections."""
        with self._closing:
            self._is_closed = True
            self._close_unused()

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        with self._closing:
            self._under_way += 1
        try:
            yield
        finally:
            with self._closing:
                self._under_way -= 1
                self._close_unused()

    def _close_unused(self) -> None:
        # A session that is closed while another thread connects loses that connection without closing it.
        if self._is_closed and self._under_way == 0:
            self._session.close()
            self._storage.close()

    def _check_open(self, info: FileInfo) -> None:
        if self._is_closed:
            raise SourceError(f"{self._where(info)}: closed while it was read", **self._details(info))

    def _fetch_rest(self, info: FileInfo, rest: "_Rest") -> None:
        self._check_open(info)
        link = self._link(info)
        with self._foreign_errors(info), self._get(link, rest) as answer:
            self._check_answer(answer, link, info, rest)
            # Of a read that takes several receives and breaks off, what came before would be lost.
            while rest.buffer and (piece := answer.read1(min(len(rest.buffer), _PIECE_BYTES))):
                rest.take(piece)
                self._check_open(info)
        if rest.buffer:
            raise ShortRead(
                f"{self._where(info)}: {len(rest.buffer)} bytes of those asked for did not come",
                **self._details(info),
            )

    def _get(self, link: str, rest: "_Rest") -> contextlib.AbstractContextManager[BaseHTTPResponse]:
        headers = {"range": f"bytes={rest.offset}-{rest.offset + len(rest.buffer) - 1}"}
        if self._is_hub(link):
            headers |= authorisation(self._api)
        return self._storage.get(link, headers, _REFUSED)

    def _link(self, info: FileInfo) -> str:
        with self._linking[info.name]:  # several ranges of a file begin at once; one of them asks
            if info.name not in self._links:
                with self._foreign_errors(info):
                    self._links[info.name] = self._resolve(info)
            return self._links[info.name]

    def _resolve(self, info: FileInfo) -> str:
        """Ask the Hub where the bytes lie; follow it about itself, not out of it."""
        ref = self._pinned
        url = hf_hub_url(ref.repo, info.name, revision=ref.revision, endpoint=self._api.endpoint)
        headers = {**authorisation(self._api), **_AS_IT_IS}
        for _ in range(_MAX_REDIRECTS):
            answer = self._session.head(url, headers=headers, follow_redirects=False)
            hf_raise_for_status(answer)
            target = urljoin(url, answer.headers["location"]) if answer.has_redirect_location else url
            if not answer.has_redirect_location or not self._is_hub(target):
                self._check_pin(answer, info)
                return target
            url = target
        raise httpx2.TooManyRedirects(f"over {_MAX_REDIRECTS} redirects")

    def _check_pin(self, answer: httpx2.Response, info: FileInfo) -> None:
        """Hold what the Hub says of a file now against what its listing said.

        Source: https://huggingface.co/docs/huggingface_hub/package_reference/file_download (get_hf_file_metadata).
        """
        headers = answer.headers
        etag = headers.get("x-linked-etag") or headers.get("etag")
        said = {
            "commit": (headers.get("x-repo-commit"), self._pinned.revision),
            "content": (etag and etag.removeprefix("W/").strip('"'), info.version),
            "size": (headers.get("x-linked-size"), str(info.size_bytes)),
        }
        for what, (found, expected) in said.items():
            if found and found != expected:
                raise SourceChanged(
                    f"{self._where(info)}: its {what} was {expected} in the listing and is {found} now; a commit never "
                    "changes, so look at what stands between this service and the Hub",
                    **self._details(info),
                )

    def _check_answer(self, answer: BaseHTTPResponse, link: str, info: FileInfo, rest: "_Rest") -> None:
        if answer.status in _REFUSED:
            self._forget(info, link)
            raise SourceUnavailable(
                f"{self._where(info)}: the storage refused the Hub's link to it ({answer.status}); it may have "
                "expired, or this machine's clock be wrong",
                **self._details(info),
            )
        start, total = _extent(answer)
        if start != rest.offset or "content-encoding" in answer.headers:
            raise SourceError(
                f"{self._where(info)}: asked for the bytes from {rest.offset} on, got them from {start} on, encoded as "
                f"{answer.headers.get('content-encoding', 'they are')}; look for a proxy that takes Range away",
                **self._details(info),
            )
        if total is not None and total != info.size_bytes:
            raise SourceCorrupted(
                f"{self._where(info)}: the Hub lists {info.size_bytes} bytes, its storage holds {total}",
                **self._details(info),
            )

    def _forget(self, info: FileInfo, link: str) -> None:
        with self._linking[info.name]:
            if self._links.get(info.name) == link:  # and not another thread's newer one
                del self._links[info.name]

    @contextlib.contextmanager
    def _foreign_errors(self, info: FileInfo) -> Iterator[None]:
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, HTTPError) as error:
            raise source_error(error, self._where(info), **self._details(info)) from error

    def _is_hub(self, url: str) -> bool:
        return _origin(url) == self._hub

    def _where(self, info: FileInfo) -> str:
        return f"{self._pinned.uri}/{info.name}"

    def _details(self, info: FileInfo) -> dict[str, str]:
        return {"source": self._pinned.uri, "file": info.name}


class _Rest:
    """What of a range has not come yet."""

    def __init__(self, offset: int, buffer: memoryview) -> None:
        self.offset, self.buffer = offset, buffer

    def take(self, piece: bytes) -> None:
        """Put the next bytes where they belong."""
        self.buffer[: len(piece)] = piece
        self.offset, self.buffer = self.offset + len(piece), self.buffer[len(piece) :]


def _extent(answer: BaseHTTPResponse) -> tuple[int, int | None]:
    """Return where a body begins in its file, and the file's size where that is said.

    Source: RFC 9110, section 14.4. A server may ignore Range and answer 200 with the whole file.
    """
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if answer.status == 206 and found is not None:
        return int(found["start"]), int(found["total"]) if found["total"] != "*" else None
    length = answer.headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = httpx2.URL(url)
    return parts.scheme, parts.host, parts.port
