"""What the origins of the Hub of the tests are asked and what they answer, as values."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.hub_refusal import HubError


@dataclass(frozen=True)
class FileSlice:
    """A body that is part of a file; `counted_as` names repo and file."""

    path: Path
    start: int
    size: int
    counted_as: tuple[str, str] | None = None


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""

    @property
    def size(self) -> int:
        """How many bytes the body has."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.size


def shortened(reply: Reply, size: int) -> Reply:
    """Return an answer with at most so many bytes of its body."""
    if isinstance(reply.body, bytes):
        return replace(reply, body=reply.body[:size])
    return replace(reply, body=replace(reply.body, size=min(size, reply.body.size)))


def json_reply(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(document).encode())


def refusal_reply(refusal: HubError) -> Reply:
    """Return the answer that says no."""
    headers = {"X-Error-Message": refusal.message.encode("ascii", "replace").decode(), **refusal.headers}
    if refusal.code is not None:
        headers["X-Error-Code"] = refusal.code
    return json_reply({"error": refusal.message}, status=refusal.status, headers=headers)


class Request:
    """One request.

    Args:
        method: Of HTTP.
        target: Path and query as they came.
        headers: As they came.
        blocks: Gives the body, once.
    """

    def __init__(
        self, method: str, target: str, headers: Mapping[str, str], blocks: Callable[[], Iterator[memoryview]]
    ) -> None:
        split = urlsplit(target)
        self.method = method
        self.target = target
        self.headers = headers
        self.blocks = blocks
        # Cut before it is unquoted: a branch's name may hold a slash.
        self.parts = [unquote(part) for part in split.path.split("/")[1:]]
        self.query = {name: values[-1] for name, values in parse_qs(split.query, keep_blank_values=True).items()}

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(bytes(block) for block in self.blocks())

    def read_json(self) -> Any:
        """Return the body's document.

        Raises:
            HubError: 400, it is none.
        """
        try:
            return json.loads(self.read() or b"{}")
        except ValueError as error:
            raise HubError(400, f"the body is not JSON: {error}") from None
