"""A stand-in for the API: the REST contract over real HTTP; misbehaves on request, records what it is asked."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

DIGEST = "ab" * 32
JOB_ID = "job-1"
SECRET = "crossfade_0123456789abcdef_" + "s" * 43
SPEC = {"base": "local://m/base", "instruct": "local://m/instruct", "lambdas": [0.5], "destination": "outputs"}
KEY = {
    "name": "release",
    "scopes": ["read", "submit"],
    "max_jobs": 5,
    "requests_per_minute": 600,
    "created_at": "2026-11-20T17:00:00Z",
    "expires_at": "2027-01-01T00:00:00Z",
    "revoked_at": None,
}
REPORT = {
    "accepted": True,
    "obstacles": [],
    "job": None,
    "spec_digest": "sha256:" + DIGEST,
    "sources": {"base": "local://m/base", "instruct": f"hf://acme/tuned@{'c0' * 20}"},
    "tensors": 3,
    "actions": {"interpolate": 2, "copy_base": 1},
    "out_dtypes": {"BF16": 3},
    "shards": [{"file": "model.safetensors", "size_bytes": 2_000_000}],
    "config_changes": {},
    "notes": ["the head is tied in both"],
    "exceptions": [{"tensor": "rotary.inv_freq", "action": "copy_base", "reason": "only in the base"}],
    "exception_count": 1,
    "outputs": [{"lambda": 0.5, "name": "instruct-pad-0.5"}],
    "read_bytes": 4_000_000,
    "write_bytes_per_output": 2_000_000,
    "write_bytes": 8_000_000,
    "scratch_bytes": 3_000_000,
    "estimate": {"seconds": 61.2, "rate_bytes_per_second": 1_000_000.0, "measured_jobs": 7},
    "later_field": "kept",
}
GRAPH = {
    "matches": [
        {
            "checkpoint": "sha256:" + DIGEST,
            "kind": "source",
            "uri": "local://m/base",
            "at": "2026-11-20T17:00:00Z",
            "job": None,
            "name": None,
            "lambda": None,
            "copy_of": None,
            "files": ["model.safetensors"],
            "sources": {},
        }
    ],
    "ancestors": [],
    "descendants": [],
    "edges": [],
    "truncated": False,
}


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = None
    query: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class FakeService:
    """One job's service. Its job ends once a stream has sent the last event, or was asked for `polls_to_end` times.

    Attributes:
        refusal: Answered, (status, problem), to the next `refusals_left` calls; to all of them where that is None.
        refusal_headers: Of that answer.
        lost_answers: To so many calls the connection breaks before the answer.
        page_count: So many pages of one job each are listed.
        broken_streams: So many event streams break off after one stored event.
        has_streams: Whether event streams are answered at all.
        is_endless: Whether the job stays where it is until the service stops.
        ending: The state in which the job ends.
        error: The error it ends with.
        is_reused: Whether an earlier job made the same.
        requires_approval: Whether its output waits for approval once a stream has said so.
        report: What a plan is answered with.
        warnings: What its output warns of once it is published; the answer holds none, nor figures, where empty.
    """

    refusal: tuple[int, dict[str, Any]] | None = None
    refusals_left: int | None = None
    refusal_headers: dict[str, str] = field(default_factory=dict)
    lost_answers: int = 0
    page_count: int = 1
    broken_streams: int = 0
    has_streams: bool = True
    is_endless: bool = False
    polls_to_end: int = 1_000
    ending: str = "SUCCEEDED"
    error: dict[str, Any] | None = None
    is_reused: bool = False
    requires_approval: bool = False
    is_staged: bool = False
    decided: dict[str, str] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=lambda: dict(REPORT))
    warnings: tuple[str, ...] = ()
    asked: list[Asked] = field(default_factory=list)
    spec: dict[str, Any] = field(default_factory=lambda: dict(SPEC))
    has_ended: bool = False

    def __enter__(self) -> Self:
        self.stopping = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away; for good, also when asked twice."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def asked_for(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    def job(self) -> dict[str, Any]:
        """Return the JobView; the Nth look at it may be the one that finds it ended."""
        self.polls_to_end -= 1
        self.has_ended |= self.polls_to_end <= 0
        path = f"/v1/merges/{JOB_ID}"
        is_published = self.has_ended and self.ending == "SUCCEEDED"
        undecided = "STAGED" if self.is_staged else "PENDING"
        files = [
            {"name": "config.json", "size_bytes": 10, "sha256": "cd" * 32},
            {"name": "model-00001-of-00002.safetensors", "size_bytes": 2_000_000, "sha256": DIGEST},
            {"name": "model-00002-of-00002.safetensors", "size_bytes": 1_000_000, "sha256": DIGEST[::-1]},
        ]
        return {
            "id": JOB_ID,
            "state": self.ending if self.has_ended else "RUNNING",
            "phase": "done" if self.has_ended else "approving" if self.is_staged else "merging",
            "spec": self.spec,
            "spec_digest": f"sha256:{DIGEST}",
            "created_at": "2026-11-20T17:00:00Z",
            "updated_at": "2026-11-20T17:00:01.250000Z",
            "reused": self.is_reused,
            "progress": {"bytes_done": 300 if self.has_ended else 150, "bytes_total": 300},
            "outputs": [
                {
                    "position": 0,
                    "lambda": 0.5,
                    "name": "instruct-pad-0.5",
                    "state": "PUBLISHED" if is_published else "FAILED" if self.has_ended else undecided,
                    "uri": "file:///srv/out/instruct-pad-0.5" if is_published else None,
                    "files": files if is_published else [],
                    "error": None,
                }
                | self.decided
                | (self._told() if is_published and self.warnings else {})
            ],
            "error": self.error if self.has_ended else None,
            "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel", "retry": f"{path}/retry"},
            "later_field": "kept",
        }

    def _told(self) -> dict[str, Any]:
        return {"figures": {"method": "exact", "requested": 0.5, "realised": 0.4321}, "warnings": list(self.warnings)}

    def events(self, after: int) -> Iterator[tuple[int | None, str, dict[str, Any]]]:
        """Yield (id, type, data) behind the event `after`."""
        last = "job.phase" if self.requires_approval and not self.has_ended else f"job.{self.ending.lower()}"
        stored = ["job.created", "job.planned", "unit.done", last]
        for sequence, kind in enumerate(stored, start=1):
            if sequence > after:
                told = {"phase": "approving"} if kind == "job.phase" else {}
                yield sequence, kind, {"created_at": "2026-11-20T17:00:00Z", **told}
            if kind == "job.planned":
                yield None, "progress", {"bytes_done": 100 * after, "bytes_total": 300, "eta_seconds": 1.0}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: FakeService) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path.partition("?")[0]
        query = parse_qs(urlsplit(self.path).query)
        self.server.service.asked.append(Asked(method, path, dict(self.headers), body, query))
        if self.server.service.lost_answers:
            self.server.service.lost_answers -= 1
            self.close_connection = True
        elif self.server.service.refusal and self.server.service.refusals_left != 0:
            self.server.service.refusals_left = (
                self.server.service.refusals_left and self.server.service.refusals_left - 1
            )
            headers = self.server.service.refusal_headers
            self._send(*self.server.service.refusal, kind="application/problem+json", headers=headers)
        elif path.startswith(f"/v1/merges/{JOB_ID}/outputs/0/"):
            self._decide(path.rpartition("/")[2], body)
        else:
            self._route(method, path, body)

    def _route(self, method: str, path: str, body: Any) -> None:
        if (method, path) == ("POST", "/v1/merges"):
            self.server.service.spec = body
            self._send(202, self.server.service.job())
        elif (method, path) in (("POST", "/v1/plans"), ("GET", "/v1/lineage")):
            self._send(200, GRAPH if method == "GET" else self.server.service.report)
        elif (method, path) == ("GET", "/v1/merges"):
            self._page()
        elif path == f"/v1/merges/{JOB_ID}/events":
            self._stream()
        elif path == "/v1/keys":
            self._send(*((201, {**KEY, **body, "secret": SECRET}) if method == "POST" else (200, {"items": [KEY]})))
        elif (method, path) == ("DELETE", "/v1/keys/release"):
            self._send(200, {**KEY, "revoked_at": "2026-11-21T00:00:00Z"})
        elif (method, path) == ("GET", f"/v1/merges/{JOB_ID}"):
            self._show()
        elif path in (f"/v1/merges/{JOB_ID}/cancel", f"/v1/merges/{JOB_ID}/retry"):
            self._send(200, self.server.service.job())
        else:
            problem = {"code": "job_not_found", "detail": "there is no such job", "retryable": False}
            self._send(404, problem, kind="application/problem+json")

    def _decide(self, verb: str, body: dict[str, str]) -> None:
        service = self.server.service
        approval = {"approve": "APPROVED", "reject": "REJECTED"}[verb]
        service.decided = {"approval": approval, "approval_reason": body.get("reason"), "decided_by": "reviewer"}
        if verb == "reject":
            service.ending = "FAILED"
        service.has_ended = True
        self._send(200, service.job())

    def _page(self) -> None:
        number = int(parse_qs(urlsplit(self.path).query).get("page", ["1"])[0])
        is_last = number == self.server.service.page_count
        self._send(200, {"items": [self.server.service.job()], "next": None if is_last else str(number + 1)})

    def _show(self) -> None:
        job = self.server.service.job()
        tag = f'W/"{job["progress"]["bytes_done"]}{"-staged" * self.server.service.is_staged}"'
        if self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            self.end_headers()
        else:
            self._send(200, job, headers={"ETag": tag})

    def _send(
        self,
        status: int,
        body: dict[str, Any],
        kind: str = "application/json",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        if not self.server.service.has_streams:
            self._send(502, {"not": "a problem"}, kind="text/html")
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for sequence, kind, data in self.server.service.events(int(self.headers.get("Last-Event-ID") or 0)):
            if self.server.service.is_endless and kind.startswith("job.") and kind != "job.created":
                self.server.service.stopping.wait(60)
                return
            self.server.service.is_staged |= kind == "job.phase"
            self.server.service.has_ended |= kind == f"job.{self.server.service.ending.lower()}"
            self._chunk(f"id: {sequence}\n" if sequence else "", kind, data)
            if sequence and self.server.service.broken_streams:
                self.server.service.broken_streams -= 1
                return  # without the last chunk: the connection broke
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, head: str, kind: str, data: dict[str, Any]) -> None:
        text = f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
        self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        self.wfile.flush()
