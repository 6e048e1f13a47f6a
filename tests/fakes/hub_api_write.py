"""The calls of the Hub of the tests that change something: uploads, commits, branches, tags, settings."""

import base64
import json
import re
from typing import Any

from tests.fakes.hub_access import Token
from tests.fakes.hub_attributes import REGULAR_BYTES_MAX, is_large
from tests.fakes.hub_card import validate_card
from tests.fakes.hub_exchange import Reply, Request, json_reply
from tests.fakes.hub_refusal import HubError, revision_not_found
from tests.fakes.hub_repos import Change, Entry, Repo
from tests.fakes.hub_state import HubState
from tests.fakes.hub_storage import Storage

_PREUPLOAD_FILES_MAX = 256
_SHA256 = re.compile(r"[0-9a-f]{64}")


class WriteApi:
    """The calls with POST, PUT and DELETE."""

    def __init__(self, state: HubState, storage: Storage) -> None:
        self._state = state
        self._storage = storage

    def post(self, request: Request, token: Token | None, repo: Repo, rest: list[str]) -> Reply | None:
        """Answer `POST /api/models/<repo>/<rest>`, or None where there is no such call."""
        self._state.access.check_write(repo, token)
        match rest:
            case ["preupload", revision]:
                return self._preupload(request, repo, revision)
            case ["commit", branch]:
                return self._commit(request, repo, branch, self._state.access.user(token).user)
            case ["branch", branch]:
                repo.add_ref(repo.branches, branch, request.read_json().get("startingPoint") or "main")
                return Reply(201)
            case ["tag", revision]:
                repo.add_ref(repo.tags, request.read_json()["tag"], revision)
                return Reply(201)
        return None

    def put(self, request: Request, token: Token | None, repo: Repo, rest: list[str]) -> Reply | None:
        """Answer `PUT /api/models/<repo>/<rest>`, or None where there is no such call."""
        self._state.access.check_write(repo, token)
        if rest != ["settings"]:
            return None
        wanted = request.read_json()
        visibility = wanted.get("visibility")
        repo.private = wanted.get("private", repo.private if visibility is None else visibility == "private")
        repo.gated = wanted.get("gated", repo.gated)
        return json_reply(wanted)

    def delete(self, request: Request, token: Token | None, repo: Repo, rest: list[str]) -> Reply | None:
        """Answer `DELETE /api/models/<repo>/<rest>`, or None where there is no such call."""
        self._state.access.check_write(repo, token)
        match rest:
            case ["branch", "main"]:
                raise HubError(403, "The main branch cannot be deleted")
            case ["branch" | "tag" as kind, name]:
                with repo.lock:
                    refs = repo.branches if kind == "branch" else repo.tags
                    if refs.pop(name, None) is None:
                        raise revision_not_found(name)
                return Reply()
        return None

    def lfs(self, request: Request, token: Token | None, repo: Repo, action: str) -> Reply:
        """Answer the calls below `<repo>.git/info/lfs/objects`.

        Raises:
            HubError: Whatever the Hub says no with.
        """
        document = request.read_json()
        is_upload = document.get("operation", "upload") == "upload"
        check = self._state.access.check_write if is_upload else self._state.access.check_gate
        check(repo, token)
        match action:
            case "batch":
                is_multipart = "multipart" in document.get("transfers", [])
                objects = [self._transfer(repo, each, is_upload, is_multipart) for each in document["objects"]]
                return json_reply({"transfer": "basic", "objects": objects})
            case "verify":
                self._state.objects.verify(repo.key, document["oid"], document["size"])
                return json_reply({})
        raise HubError(404, f"LFS has no call {action!r}")

    def complete_multipart(self, request: Request, upload: str) -> Reply:
        """End an upload in parts; whoever knows its id may."""
        document = request.read_json()
        parts = {int(part["partNumber"]): part["etag"] for part in document["parts"]}
        if document["oid"] != self._state.objects.multipart(upload).sha256:
            raise HubError(400, f"upload {upload} is of another object than {document['oid']}")
        self._state.objects.complete_multipart(upload, parts)
        return json_reply({"success": True})

    def _preupload(self, request: Request, repo: Repo, revision: str) -> Reply:
        files = request.read_json()["files"]
        if len(files) > _PREUPLOAD_FILES_MAX:
            raise HubError(400, f"at most {_PREUPLOAD_FILES_MAX} files at once, {len(files)} came")
        tree = repo.at(revision).tree
        attributes = self._state.content(repo, revision, ".gitattributes")
        return json_reply({"files": [_upload_mode(file, tree.get(file["path"]), attributes) for file in files]})

    def _transfer(self, repo: Repo, wanted: dict[str, Any], is_upload: bool, is_multipart: bool) -> dict[str, Any]:
        sha256, size = wanted["oid"], wanted["size"]
        record = {"oid": sha256, "size": size}
        if not _SHA256.fullmatch(sha256):
            return {**record, "error": {"code": 422, "message": f"not a SHA-256: {sha256}"}}
        is_there = self._state.has_object(repo, sha256)
        if not is_upload:
            if not is_there:
                return {**record, "error": {"code": 404, "message": "Object does not exist"}}
            return {**record, "actions": {"download": {"href": self._storage.download_url(repo, sha256, sha256)}}}
        if is_there:
            return record
        verify = {"href": f"{self._state.hub_url}/{_git_path(repo)}/info/lfs/objects/verify", "header": {}}
        upload = self._multipart(repo, sha256, size) if is_multipart else None
        return {
            **record,
            "actions": {"upload": upload or {"href": self._storage.upload_url(repo, sha256)}, "verify": verify},
        }

    def _multipart(self, repo: Repo, sha256: str, size: int) -> dict[str, Any] | None:
        chunk_bytes = self._state.chunk_bytes
        if chunk_bytes is None or size <= chunk_bytes:
            return None
        upload, multipart = self._state.objects.start_multipart(repo.key, sha256, size, chunk_bytes)
        numbers = range(1, multipart.part_count + 1)
        header = {f"{number:05d}": self._storage.part_url(repo, upload, number) for number in numbers}
        href = f"{self._state.hub_url}/api/complete-multipart/{upload}"
        return {"href": href, "header": {"chunk_size": str(chunk_bytes), **header}}

    def _commit(self, request: Request, repo: Repo, branch: str, author: str) -> Reply:
        if "create_pr" in request.query:
            raise HubError(501, "this Hub has no pull requests")
        lines = [json.loads(line) for line in request.read().splitlines() if line]
        if not lines or lines[0]["key"] != "header":
            raise HubError(400, "a commit begins with its header")
        header = lines[0]["value"]
        if not header.get("summary"):
            raise HubError(400, "a commit needs a summary")
        changes = [self._change(repo, line["key"], line["value"]) for line in lines[1:]]
        commit = repo.add_commit(
            branch,
            changes,
            title=header["summary"],
            message=header.get("description", ""),
            author=author,
            parent=header.get("parentCommit"),
        )
        url = f"{self._state.hub_url}/{repo.id}/commit/{commit.id}"
        return json_reply({"success": True, "commitOid": commit.id, "commitUrl": url, "hookOutput": ""})

    def _change(self, repo: Repo, key: str, value: dict[str, Any]) -> Change:
        match key:
            case "file":
                return value["path"], self._regular(repo, value["path"], base64.b64decode(value["content"]))
            case "lfsFile":
                if value.get("algo") != "sha256" or not _SHA256.fullmatch(value["oid"]):
                    raise HubError(400, f"not a SHA-256: {value}")
                return value["path"], self._state.large_entry(repo, value["oid"], value.get("size"))
            case "deletedFile":
                return value["path"], None
            case "deletedFolder":
                return f"{value['path'].removesuffix('/')}/", None
        raise HubError(400, f"a commit has no operation {key!r}")

    def _regular(self, repo: Repo, path: str, content: bytes) -> Entry:
        if len(content) > REGULAR_BYTES_MAX:
            raise HubError(400, f"{path} has {len(content)} bytes: files larger than 10 MiB go through LFS")
        errors = validate_card(content.decode())[0] if path == "README.md" else []
        if errors:
            raise HubError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
        traffic = self._state.traffic
        traffic.count(traffic.bytes_written, (repo.id, path), len(content))
        return Entry(len(content), self._state.objects.put_blob(content))


def _upload_mode(file: dict[str, Any], existing: Entry | None, attributes: bytes) -> dict[str, Any]:
    mode = "lfs" if is_large(file["path"], file["size"], attributes) else "regular"
    record = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
    return record if existing is None else {**record, "oid": existing.sha256 or existing.oid}


def _git_path(repo: Repo) -> str:
    return f"{'' if repo.kind == 'model' else repo.kind + 's/'}{repo.id}.git"
