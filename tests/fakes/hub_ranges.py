"""Files and parts of files as answers to GET and HEAD."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.hub_exchange import FileSlice, Reply, Request
from tests.fakes.hub_refusal import HubError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def file_reply(
    request: Request, path: Path, headers: Mapping[str, str], *, counted_as: tuple[str, str] | None = None
) -> Reply:
    """Answer with a file: with the range asked for, or with all of it where none was asked or several.

    Raises:
        HubError: 416, the file has no byte of the range.
    """
    size = path.stat().st_size
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    span = _span(request.headers.get("Range"), size)
    if span is None:
        return Reply(200, headers, FileSlice(path, 0, size, counted_as))
    first, last = span
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Reply(206, headers, FileSlice(path, first, last - first + 1, counted_as))


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    found = _RANGE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return None
    if found[1] == "":
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(size - 1, int(found[2] or size))
    if first > last:
        raise HubError(416, f"{header} of {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return first, last
