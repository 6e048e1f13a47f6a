"""The calls of the Hub of the tests that change nothing: info, tree, refs, commits, resolve, tokens to read."""

import base64
import time
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from tests.fakes.hub_access import Token
from tests.fakes.hub_attributes import pointer
from tests.fakes.hub_card import read_card
from tests.fakes.hub_exchange import Reply, Request, json_reply
from tests.fakes.hub_ranges import file_reply
from tests.fakes.hub_refusal import HubError, entry_not_found
from tests.fakes.hub_repos import Commit, Entry, Repo
from tests.fakes.hub_state import HubState
from tests.fakes.hub_storage import Storage
from tests.fakes.hub_xet import TOKEN_SECONDS, XetStore

_PAGE_ENTRIES = 1000
_PAGE_ENTRIES_EXPANDED = 50


class ReadApi:
    """The calls with GET and HEAD, and `paths-info`."""

    def __init__(self, state: HubState, storage: Storage) -> None:
        self._state = state
        self._storage = storage

    def get(self, request: Request, token: Token | None, repo: Repo, rest: list[str]) -> Reply | None:
        """Answer `GET /api/models/<repo>/<rest>`, or None where there is no such call."""
        access = self._state.access
        access.check_read(repo, token)
        match rest:
            case [] | ["revision", _]:
                return self._info(request, repo, rest[1] if rest else "main")
            case ["tree", revision, *path]:
                return self._tree(request, repo, repo.at(revision), "/".join(path).strip("/"))
            case ["refs"]:
                return json_reply(
                    {
                        "branches": _refs(repo.branches, "heads"),
                        "converts": [],
                        "tags": _refs(repo.tags, "tags"),
                        "pullRequests": [],
                    }
                )
            case ["commits", revision]:
                return self._page(request, [_commit_record(commit) for commit in repo.history(revision)])
            case ["auth-check"]:
                access.check_gate(repo, token)
                return json_reply({})
            case ["auth-check", "write"]:
                access.check_write(repo, token)
                return json_reply({})
            case ["xet-write-token", _]:
                access.check_write(repo, token)
                return _xet_token(self._xet(), self._xet().new_cas())
            case ["xet-read-token", revision]:
                access.check_gate(repo, token)
                cas = request.query.get("cas") or _only_cas(repo.at(revision))
                return _xet_token(self._xet(), self._xet().view(cas))
        return None

    def paths_info(self, request: Request, token: Token | None, repo: Repo, revision: str) -> Reply:
        """Answer which of the paths asked for are there, files and folders."""
        self._state.access.check_read(repo, token)
        commit = repo.at(revision)
        form = parse_qs(request.read().decode(), keep_blank_values=True)
        is_expanded = form.get("expand") == ["true"]
        records = {
            record["path"]: record for record in _listing(repo, commit, "", is_recursive=True, is_expanded=is_expanded)
        }
        return json_reply([records[path] for path in form.get("paths", []) if path in records])

    def resolve(self, request: Request, token: Token | None, repo: Repo, revision: str, path: str) -> Reply:
        """Answer with a regular file, or say where a large one is."""
        self._state.access.check_gate(repo, token)
        commit, entry = repo.entry(revision, path)
        headers = {"X-Repo-Commit": commit.id, "ETag": f'"{entry.sha256 or entry.oid}"'}
        if entry.sha256 is None:
            return file_reply(request, self._state.path_of(repo, entry), headers, counted_as=(repo.id, path))
        headers |= {
            "X-Linked-Size": str(entry.size),
            "X-Linked-ETag": f'"{entry.sha256}"',
            "Location": self._storage.download_url(repo, entry.sha256, path),
            "Accept-Ranges": "bytes",
        }
        if entry.xet is not None:
            route = f"{self._state.hub_url}/api/{repo.key}/xet-read-token/{commit.id}?cas={entry.xet.cas}"
            headers |= {"X-Xet-Hash": entry.xet.hash, "Link": f'<{route}>; rel="xet-auth"'}
        return Reply(302, headers)

    def _info(self, request: Request, repo: Repo, revision: str) -> Reply:
        commit = repo.at(revision)
        is_detailed = request.query.get("blobs") == "true"
        card = read_card(self._state.content(repo, revision, "README.md").decode())
        return json_reply(
            {
                "_id": repo.key,
                "id": repo.id,
                "modelId": repo.id,
                "author": repo.namespace,
                "sha": commit.id,
                "lastModified": _date(commit.date),
                "createdAt": _date(next(iter(repo.commits.values())).date),
                "private": repo.private,
                "gated": repo.gated,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": card.get("tags", []),
                "library_name": card.get("library_name"),
                "cardData": card,
                "usedStorage": sum(entry.size for entry in commit.tree.values()),
                "siblings": [_sibling(path, entry, is_detailed) for path, entry in sorted(commit.tree.items())],
            }
        )

    def _tree(self, request: Request, repo: Repo, commit: Commit, folder: str) -> Reply:
        is_expanded = request.query.get("expand") == "true"
        is_recursive = request.query.get("recursive") == "true"
        records = _listing(repo, commit, folder, is_recursive=is_recursive, is_expanded=is_expanded)
        if folder and not records:
            raise entry_not_found(folder, commit.id)
        return self._page(request, records, most=_PAGE_ENTRIES_EXPANDED if is_expanded else _PAGE_ENTRIES)

    def _page(self, request: Request, records: list[dict[str, Any]], *, most: int = _PAGE_ENTRIES) -> Reply:
        most = self._state.page_entries or most
        start = int(base64.urlsafe_b64decode(request.query.get("cursor", "MA==")))
        headers = {"X-Total-Count": str(len(records))}
        if start + most < len(records):
            cursor = base64.urlsafe_b64encode(str(start + most).encode()).decode()
            path = request.target.partition("?")[0]
            next_url = f"{self._state.hub_url}{path}?{urlencode({**request.query, 'cursor': cursor})}"
            headers["Link"] = f'<{next_url}>; rel="next"'
        return json_reply(records[start : start + most], headers=headers)

    def _xet(self) -> XetStore:
        if self._state.xet is None:
            raise HubError(404, "Xet is not enabled on this Hub")
        return self._state.xet


def _xet_token(xet: XetStore, cas: str) -> Reply:
    token, expiry, url = "local", int(time.time()) + TOKEN_SECONDS, xet.url(cas)
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expiry)}
    return json_reply({"accessToken": token, "exp": expiry, "casUrl": url}, headers=headers)


def _only_cas(commit: Commit) -> str:
    found = {entry.xet.cas for entry in commit.tree.values() if entry.xet is not None}
    if len(found) != 1:
        raise HubError(404, f"the Xet files of {commit.id} lie in {len(found)} local CAS folders, a token is for one")
    return found.pop()


def _refs(refs: dict[str, str], folder: str) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": commit} for name, commit in sorted(refs.items())
    ]


def _date(date: datetime) -> str:
    return f"{date:%Y-%m-%dT%H:%M:%S}.{date.microsecond // 1000:03d}Z"


def _commit_record(commit: Commit) -> dict[str, Any]:
    authors = [{"user": commit.author, "avatar": ""}]
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "authors": authors,
        "date": _date(commit.date),
    }


def _sibling(path: str, entry: Entry, is_detailed: bool) -> dict[str, Any]:
    if not is_detailed:
        return {"rfilename": path}
    record: dict[str, Any] = {"rfilename": path, "size": entry.size, "blobId": entry.oid}
    if entry.sha256 is not None:
        record["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": _pointer_bytes(entry)}
    return record


def _listing(repo: Repo, commit: Commit, folder: str, *, is_recursive: bool, is_expanded: bool) -> list[dict[str, Any]]:
    """Return the records of a folder's files and folders, in order."""
    prefix = f"{folder}/" if folder else ""
    records: dict[str, dict[str, Any]] = {}
    for path, entry in commit.tree.items():
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts) if is_recursive else min(2, len(parts))):
            name = prefix + "/".join(parts[:depth])
            records[name] = {"type": "directory", "oid": commit.id, "size": 0, "path": name}
        if is_recursive or len(parts) == 1:
            records[path] = _file_record(repo, path, entry, is_expanded)
    return [records[path] for path in sorted(records)]


def _file_record(repo: Repo, path: str, entry: Entry, is_expanded: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.sha256 is not None:
        record["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": _pointer_bytes(entry)}
    if entry.xet is not None:
        record["xetHash"] = entry.xet.hash
    if is_expanded:
        last = repo.commits[entry.commit]
        record["lastCommit"] = {"id": last.id, "title": last.title, "date": _date(last.date)}
        record["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return record


def _pointer_bytes(entry: Entry) -> int:
    return len(pointer(entry.sha256 or "", entry.size))
