"""The second origin of the Hub of the tests: the store of large files. It knows signed URLs and no tokens."""

import hashlib
import hmac
import secrets
import time
from urllib.parse import quote, urlencode

from tests.fakes.hub_exchange import Reply, Request
from tests.fakes.hub_ranges import file_reply
from tests.fakes.hub_refusal import HubError
from tests.fakes.hub_repos import Repo
from tests.fakes.hub_state import HubState


class Storage:
    """Answers what is asked of the storage's port.

    Args:
        state: The Hub's.
        url_seconds: How long a URL is good for.
    """

    def __init__(self, state: HubState, *, url_seconds: float = 3600) -> None:
        self._state = state
        self.url_seconds = url_seconds
        self.now = time.time
        self._secret = secrets.token_bytes(16)

    def download_url(self, repo: Repo, sha256: str, path: str) -> str:
        """Return where a large file is to be had."""
        return self._signed("GET", f"/{repo.key}/{sha256}", file=path)

    def upload_url(self, repo: Repo, sha256: str) -> str:
        """Return where an object is to be put."""
        return self._signed("PUT", f"/{repo.key}/{sha256}")

    def part_url(self, repo: Repo, upload: str, number: int) -> str:
        """Return where a part of an upload is to be put."""
        return self._signed("PUT", f"/{repo.key}/parts/{upload}/{number}")

    def answer(self, request: Request) -> Reply:
        """Do what is asked.

        Raises:
            HubError: 403, the URL is not signed or no longer; 400, a token came with it; 404, 416.
        """
        self._check_signature(request)
        if request.headers.get("Authorization") is not None:
            raise HubError(400, "Only one auth mechanism allowed: a signed URL takes no Authorization header")
        match request.method, request.parts:
            case "GET" | "HEAD", [kinds, namespace, name, sha256]:
                repo = self._state.repos.get(f"{namespace}/{name}", kinds.removesuffix("s"))
                return self._download(request, repo, sha256)
            case "PUT", [_, _, _, "parts", upload, number]:
                return self._receive_part(request, upload, int(number))
            case "PUT", [kinds, namespace, name, sha256]:
                repo = self._state.repos.get(f"{namespace}/{name}", kinds.removesuffix("s"))
                return self._receive(request, repo, sha256)
        raise HubError(405, "The specified method is not allowed against this resource")

    def _download(self, request: Request, repo: Repo, sha256: str) -> Reply:
        path = self._state.object_path(repo, sha256)
        return file_reply(request, path, {"ETag": f'"{sha256}"'}, counted_as=(repo.id, request.query["file"]))

    def _receive(self, request: Request, repo: Repo, sha256: str) -> Reply:
        received = self._state.objects.receive_object(repo.key, sha256, request.blocks())
        self._count(repo.id, sha256, received)
        return Reply(200, {"ETag": f'"{secrets.token_hex(16)}"'})

    def _receive_part(self, request: Request, upload: str, number: int) -> Reply:
        multipart = self._state.objects.multipart(upload)
        start, size = multipart.span(number)
        announced = int(request.headers["Content-Length"])
        if announced != size:
            raise HubError(400, f"part {number} must have {size} bytes, {announced} came")
        received = self._state.objects.receive(multipart.path, start, request.blocks())
        self._count("/".join(request.parts[1:3]), multipart.sha256, received)
        etag = f'"{secrets.token_hex(16)}"'
        multipart.etags[number] = etag
        return Reply(200, {"ETag": etag})

    def _count(self, repo: str, sha256: str, count_bytes: int) -> None:
        traffic = self._state.traffic
        traffic.count(traffic.bytes_written, (repo, sha256), count_bytes)

    def _signed(self, method: str, path: str, **query: str) -> str:
        query["X-Expires"] = f"{self.now() + self.url_seconds:.3f}"
        query["X-Signature"] = self._signature(method, path, query)
        return f"{self._state.storage_url}{quote(path)}?{urlencode(query)}"

    def _signature(self, method: str, path: str, query: dict[str, str]) -> str:
        signed = {name: value for name, value in query.items() if name != "X-Signature"}
        text = f"{method} {path} {sorted(signed.items())}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _check_signature(self, request: Request) -> None:
        method = "GET" if request.method == "HEAD" else request.method
        expected = self._signature(method, "/" + "/".join(request.parts), request.query)
        if not hmac.compare_digest(expected, request.query.get("X-Signature", "")):
            raise HubError(403, "AccessDenied: the signature of this URL is not ours")
        if float(request.query["X-Expires"]) < self.now():
            raise HubError(403, "AccessDenied: Request has expired")
