"""Server-sent events: from the bytes of a stream to events (WHATWG HTML, section 9.2 "Server-sent events")."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One event; `id` is None for one that is not persisted and cannot be resumed from."""

    type: str
    data: dict[str, Any]
    id: str | None = None


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Yield the complete events of a stream, however its bytes are cut; holds one event in memory.

    Lines end at LF or CRLF only: `str.splitlines` would also cut at U+2028, which JSON may hold. An event without its
    closing blank line was cut off and is dropped.

    Raises:
        ValueError: An event's data is no JSON object.
    """
    fields: dict[str, str] = {}
    for line in _lines(chunks):
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
            continue
        if "data" in fields:
            yield _event(fields)
        fields = {}


def _event(fields: dict[str, str]) -> ServerEvent:
    data = json.loads(fields["data"])
    if not isinstance(data, dict):
        raise ValueError(f"an event's data is no JSON object: {fields['data'][:80]}")
    return ServerEvent(fields.get("event", "message"), data, fields.get("id"))


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode(errors="replace")
