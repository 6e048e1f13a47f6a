"""`python -m crossfade_registries.fetch`: get one published output into a folder, every file verified.

Reads one JSON object from standard input and writes one JSON object a line to standard output; `crossfade fetch` is the
face of it. A process of its own because the CLI must not load the registries (import rules).
"""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossfade_registries.fetched_folder import FetchedFolder
from crossfade_registries.json_program import emit, run_program
from crossfade_registries.output_source import open_published
from crossfade_registries.plain_names import is_hidden
from crossfade_registries.published import read_published


def _fetch(request: Mapping[str, Any]) -> dict[str, Any]:
    uri, out = str(request["uri"]), Path(request["out"])
    with contextlib.ExitStack() as opened:
        source = opened.enter_context(contextlib.closing(open_published(uri)))
        published = read_published(source, request.get("lineage_sha256"))
        strays = [*published.strays, *(path for path in source.unlisted() if not is_hidden(path))]
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
    return {"uri": uri, "path": str(out), "size_bytes": total_bytes, "files": listed, "strays": strays}


if __name__ == "__main__":
    sys.exit(run_program(_fetch))
