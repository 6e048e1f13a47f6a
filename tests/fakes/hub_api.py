"""The first origin of the Hub of the tests: which call is which, and those that concern no commit.

Source: the calls of huggingface_hub 2.4.0's `HfApi`.
"""

from tests.fakes.hub_access import Token
from tests.fakes.hub_api_read import ReadApi
from tests.fakes.hub_api_write import WriteApi
from tests.fakes.hub_attributes import DEFAULT_ATTRIBUTES
from tests.fakes.hub_card import validate_card
from tests.fakes.hub_exchange import Reply, Request, json_reply
from tests.fakes.hub_refusal import HubError
from tests.fakes.hub_repos import Entry, Repo
from tests.fakes.hub_state import HubState
from tests.fakes.hub_storage import Storage

_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


class Api:
    """Answers what is asked of the Hub's port."""

    def __init__(self, state: HubState, storage: Storage) -> None:
        self._state = state
        self._read = ReadApi(state, storage)
        self._write = WriteApi(state, storage)

    def answer(self, request: Request) -> Reply:
        """Do what is asked.

        Raises:
            HubError: Whatever the Hub says no with.
        """
        if request.parts == ["_counters"]:
            return self._counters(request)
        token = self._state.access.token(request.headers)
        match request.parts:
            case ["api", "whoami-v2"]:
                return self._whoami(token)
            case ["api", "validate-yaml"]:
                return self._validate_card(request)
            case ["api", "repos", action]:
                return self._repos(request, token, action)
            case ["api", "complete-multipart", upload]:
                return self._write.complete_multipart(request, upload)
            case ["api", kinds, namespace, name, *rest] if kinds in _KINDS:
                return self._repo_call(
                    request, token, self._state.repos.get(f"{namespace}/{name}", _KINDS[kinds]), rest
                )
        return self._plain_call(request, token)

    def _repo_call(self, request: Request, token: Token | None, repo: Repo, rest: list[str]) -> Reply:
        handlers = {
            "GET": self._read.get,
            "POST": self._write.post,
            "PUT": self._write.put,
            "DELETE": self._write.delete,
        }
        if rest and rest[0] == "paths-info":
            return self._read.paths_info(request, token, repo, rest[1])
        reply = handlers[request.method](request, token, repo, rest) if request.method in handlers else None
        if reply is None:
            raise HubError(404, f"{request.method} /api/{repo.key}/{'/'.join(rest)} is no call of this Hub")
        return reply

    def _plain_call(self, request: Request, token: Token | None) -> Reply:
        parts = request.parts
        kind = _KINDS[parts.pop(0)] if parts and parts[0] in _KINDS else "model"
        match parts:
            case [namespace, name, "resolve", revision, *path]:
                repo = self._state.repos.get(f"{namespace}/{name}", kind)
                return self._read.resolve(request, token, repo, revision, "/".join(path))
            case [namespace, name, "info", "lfs", "objects", action] if name.endswith(".git"):
                repo = self._state.repos.get(f"{namespace}/{name.removesuffix('.git')}", kind)
                return self._write.lfs(request, token, repo, action)
        raise HubError(404, f"{request.method} {'/'.join(request.parts)} is no call of this Hub")

    def _repos(self, request: Request, token: Token | None, action: str) -> Reply:
        wanted = request.read_json()
        user = self._state.access.user(token)
        namespace, kind = wanted.get("organization") or user.user, wanted.get("type") or "model"
        name = f"{namespace}/{wanted['name']}"
        match request.method, action:
            case "POST", "create":
                is_private = wanted.get("visibility") == "private" or wanted.get("private") is True
                return self._create(Repo(name, kind, private=is_private), token)
            case "DELETE", "delete":
                repo = self._state.repos.get(name, kind)
                self._state.access.check_write(repo, token)
                self._state.repos.remove(repo)
                return Reply()
        raise HubError(404, f"/api/repos/{action} is no call of this Hub")

    def _create(self, repo: Repo, token: Token | None) -> Reply:
        self._state.access.check_namespace(repo.namespace, token)
        prefix = "" if repo.kind == "model" else f"{repo.kind}s/"
        answer = {"url": f"{self._state.hub_url}/{prefix}{repo.id}", "name": repo.id, "id": repo.id}
        author = self._state.access.user(token).user
        try:
            start_repo(self._state, repo, author)
        except HubError as refusal:
            if refusal.status != 409:
                raise
            return json_reply({"error": refusal.message, **answer}, status=409)
        return json_reply(answer)

    def _whoami(self, token: Token | None) -> Reply:
        user = self._state.access.user(token)
        names = sorted({*user.read, *user.write} - {user.user})
        orgs = [{"name": name, "roleInOrg": "write" if name in user.write else "read"} for name in names]
        role = "write" if user.write else "read"
        return json_reply(
            {
                "type": "user",
                "id": user.user,
                "name": user.user,
                "fullname": user.user,
                "orgs": orgs,
                "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": role}},
            }
        )

    def _validate_card(self, request: Request) -> Reply:
        errors, warnings = validate_card(request.read_json()["content"])
        document = {
            name: [{"message": each} for each in found]
            for name, found in zip(("errors", "warnings"), (errors, warnings), strict=True)
        }
        if errors:
            return json_reply({"error": "Invalid metadata in README.md", **document}, status=400)
        return json_reply(document)

    def _counters(self, request: Request) -> Reply:
        traffic = self._state.traffic
        with traffic.lock:
            if request.method == "DELETE":
                for counted in (traffic.requests, traffic.bytes_read, traffic.bytes_written):
                    counted.clear()
            return json_reply(
                {
                    "requests": [vars(asked) for asked in traffic.requests],
                    "bytes_read": {"/".join(key): count for key, count in traffic.bytes_read.items()},
                    "bytes_written": {"/".join(key): count for key, count in traffic.bytes_written.items()},
                }
            )


def start_repo(state: HubState, repo: Repo, author: str) -> None:
    """Add a repo with its first commit.

    Raises:
        HubError: 409, it exists; 400, that is no repo's name.
    """
    with repo.lock:
        state.repos.add(repo)
        oid = state.objects.put_blob(DEFAULT_ATTRIBUTES)
        first = (".gitattributes", Entry(len(DEFAULT_ATTRIBUTES), oid))
        repo.add_commit("main", [first], title="initial commit", author=author, parent=None)
