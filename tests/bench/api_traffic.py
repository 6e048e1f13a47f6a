"""What is asked of a server under load: the stated mix of reads and submits, and what counts as a right answer.

Of a hundred requests sixty show a job (half of those poll with the ETag they have), fifteen list twenty jobs, ten read
the events of a job that has ended, five submit something new, and ten submit again what was accepted before: with its
idempotency key, which replays the answer, or without, which finds the job that makes the same.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.bench.api_http import Answer

LAMBDAS: Final = 5
_NEXT: Final = re.compile(rb'"next":"([^"]+)"}$')
_STEP: Final = 1e-6
"""Between the λ of one submission and those of the next: each is a job of its own, and float32 tells them apart."""
_TEAMS: Final = ("red", "green", "blue", "grey")
_FILTERS: Final = ("", "&state=SUCCEEDED", "&destination=outputs", *(f"&label=team%3D{team}" for team in _TEAMS))


@dataclass(frozen=True)
class Request:
    """One request: what kind it is, its bytes, and the answer that is right: its status, and text in its body."""

    kind: str
    raw: bytes
    status: int
    text: bytes = b""
    submitted: tuple[str, bytes] | None = None
    """The idempotency key and the body of something new."""
    listed: str | None = None
    """Which jobs a list is of; every second one goes on where the one before it ended."""

    def fault(self, answer: Answer) -> str | None:
        """Return what is wrong with an answer, None for a right one."""
        if answer.status != self.status:
            return f"{self.kind}: {answer.status} instead of {self.status}: {answer.body[:200]!r}"
        return None if self.text in answer.body else f"{self.kind}: {self.text!r} is not in {answer.body[:200]!r}"


class Traffic(Protocol):
    """Makes requests, and learns from their answers."""

    def first(self) -> Sequence[Request]:
        """Return what is to be asked in turn before the clock starts."""

    def next(self) -> Request:
        """Make a request."""

    def answered(self, request: Request, answer: Answer) -> None:
        """Hear the right answer to a request."""


class ApiTraffic:
    """The mix, over jobs that are there and those it submits itself.

    Args:
        secret: Of the key it calls with.
        jobs: Ids of jobs that are there.
        ended: Those of them that have ended.
        seed: Of its dice.
    """

    def __init__(self, secret: str, jobs: Sequence[str], ended: Sequence[str], seed: int = 0) -> None:
        self._dice = random.Random(seed)
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\n"
        self._jobs, self._watched, self._ended = list(jobs), list(jobs[:100]), list(ended)
        self._tags: dict[str, str] = {}
        self._pages: dict[str, str] = {}
        self._accepted: list[tuple[str, bytes]] = []
        self._count = 0
        self._kinds: tuple[tuple[Callable[[], Request], int], ...] = (
            (self._job, 30),
            (self._tagged_job, 30),
            (self._list, 15),
            (self._events, 10),
            (self._submit, 5),
            (self._submit_again, 10),
        )

    def first(self) -> Sequence[Request]:
        """Learn the ETags of the jobs it watches, and have something accepted to submit again."""
        return [*(self._show(job) for job in self._watched), *(self._submit() for _ in range(20))]

    def next(self) -> Request:
        """Throw the dice."""
        makers, weights = zip(*self._kinds, strict=True)
        return self._dice.choices(makers, weights)[0]()

    def answered(self, request: Request, answer: Answer) -> None:
        """Keep ETags and accepted submissions."""
        if request.submitted is not None:
            self._accepted.append(request.submitted)
            self._jobs.append(answer.headers["location"].rpartition("/")[2])
        elif request.listed is not None:
            following = _NEXT.search(answer.body)
            self._pages[request.listed] = f"&page={following[1].decode()}" if following else ""
        elif "etag" in answer.headers and answer.status == 200:
            self._tags[str(json.loads(answer.body)["id"])] = answer.headers["etag"]

    def _job(self) -> Request:
        return self._show(self._dice.choice(self._jobs))

    def _show(self, job: str) -> Request:
        return self._get("show a job", f"/v1/merges/{job}", text=job.encode())

    def _tagged_job(self) -> Request:
        job = self._dice.choice(self._watched)
        return self._get("poll a job with its ETag", f"/v1/merges/{job}", f"If-None-Match: {self._tags[job]}\r\n", 304)

    def _list(self) -> Request:
        wanted = self._dice.choice(_FILTERS)
        page = self._pages.pop(wanted, "")
        return self._get("list 20 jobs", f"/v1/merges?limit=20{wanted}{page}", text=b'"items":[', listed=wanted)

    def _events(self) -> Request:
        job = self._dice.choice(self._ended)
        return self._get("events of a job", f"/v1/merges/{job}/events", text=b"job.queued")

    def _submit(self) -> Request:
        self._count += 1
        body = json.dumps(new_spec(self._count)).encode()
        key = f"bench-{self._count}"
        return self._post("submit", body, key, text=b'"reused":false', submitted=(key, body))

    def _submit_again(self) -> Request:
        key, body = self._dice.choice(self._accepted)
        if self._dice.random() < 0.5:
            return self._post("submit, idempotency key again", body, key, text=b'"reused":false')
        return self._post("submit, same spec again", body, None, text=b'"reused":true')

    def _get(
        self, kind: str, path: str, more: str = "", status: int = 200, *, text: bytes = b"", listed: str | None = None
    ) -> Request:
        raw = f"GET {path} HTTP/1.1\r\n{self._head}{more}\r\n".encode()
        return Request(kind, raw, status, text, listed=listed)

    def _post(
        self, kind: str, body: bytes, key: str | None, text: bytes, submitted: tuple[str, bytes] | None = None
    ) -> Request:
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        more += f"Idempotency-Key: {key}\r\n" if key else ""
        raw = f"POST /v1/merges HTTP/1.1\r\n{self._head}{more}\r\n".encode() + body
        return Request(kind, raw, 202, text, submitted)


class OneRoute:
    """The same request again and again."""

    def __init__(self, path: str) -> None:
        self._request = Request(path, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(), 200)

    def first(self) -> Sequence[Request]:
        """Nothing needs to be known."""
        return []

    def next(self) -> Request:
        """Return the request."""
        return self._request

    def answered(self, request: Request, answer: Answer) -> None:
        """Learn nothing."""


def new_spec(number: int) -> dict[str, Any]:
    """Return the spec of the submission of that number; no two make the same."""
    return {
        "base": "local://models/base",
        "instruct": "local://models/instruct",
        "lambdas": [round(0.2 * place + number * _STEP, 6) for place in range(LAMBDAS)],
        "destination": "outputs",
        "labels": {"team": _TEAMS[number % len(_TEAMS)], "run": str(number)},
    }
