"""`python -m crossfade_registries.fetch`: get one published output into a folder, every file verified.

Reads one JSON object from standard input and writes one JSON object a line to standard output; `crossfade fetch` is the
face of it. A process of its own because the CLI must not load the registries (import rules).
"""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from crossfade_core.errors import InvalidSpec
from crossfade_core.ports import Source
from crossfade_core.source_ref import HubRef, LocalRef, parse_source
from crossfade_registries.fetched_folder import FetchedFolder
from crossfade_registries.json_program import emit, run_program
from crossfade_registries.local.source import LocalSource
from crossfade_registries.published import read_published

FORMS: Final = "file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME@COMMIT"


def _fetch(request: Mapping[str, Any]) -> dict[str, Any]:
    uri, out = str(request["uri"]), Path(request["out"])
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(contextlib.closing(_open_output(uri)))
        published = read_published(source, request.get("lineage_sha256"))
        folder = opened.enter_context(FetchedFolder(out, uri, overwrite=bool(request.get("overwrite"))))
        files = {name: (staged.size_bytes, staged.sha256) for name, staged in published.files.items()}
        total_bytes = sum(size for size, _ in files.values()) + sum(
            info.size_bytes for info in published.loose.values()
        )
        done_bytes = 0

        def tick(count_bytes: int) -> None:
            nonlocal done_bytes
            done_bytes += count_bytes
            emit("progress", bytes_done=done_bytes, bytes_total=total_bytes)

        for name, staged in sorted(published.files.items()):
            folder.fetch(source, name, staged, tick)
        for name, info in published.loose.items():
            files[name] = (info.size_bytes, folder.fetch_loose(source, name, info.size_bytes, tick))
        folder.commit(published.lineage, files)
    listed = [
        {"name": name, "size_bytes": size, "sha256": sha256, "is_held": name in published.files}
        for name, (size, sha256) in sorted(files.items())
    ]
    return {"uri": uri, "path": str(out), "size_bytes": total_bytes, "files": listed, "strays": list(published.strays)}


def _open_output(uri: str) -> Source:
    """Open what a job shows as an output's URI, with the rights and credentials of the user at this machine.

    Raises:
        InvalidSpec: It is none of the forms that sinks return.
        SourceError: It is not there, or may not be read.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and not parts.netloc and len(parts.path) > 1:
        return LocalSource(Path("/"), os.fsdecode(unquote_to_bytes(parts.path)).lstrip("/"), uri)
    try:
        ref = parse_source(uri)
    except ValueError:
        ref = None
    if ref is None or isinstance(ref, LocalRef) or (isinstance(ref, HubRef) and not ref.is_commit):
        raise InvalidSpec(f"{uri!r} is no output's URI; give the `uri` that the job shows: {FORMS}", field="uri")
    from crossfade_registries.own_registries import open_own_source  # its clients take a second to load

    return open_own_source(ref)


if __name__ == "__main__":
    sys.exit(run_program(_fetch))
