"""Rebuild in this process, as `python -m crossfade_worker.rebuild` does; and lineages to be changed."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossfade_core.errors import Reported
from crossfade_worker import rebuild as program
from tests.architectures.merging import speaking


def rebuild(uri: Path | str, **request: Any) -> dict[str, Any]:
    """Rebuild an output; return what `done` says.

    Raises:
        Reported: It could not be rebuilt; its record says why.
    """
    said = io.StringIO()
    with speaking(io.StringIO(json.dumps({"uri": str(uri), "threads": 2, **request})), said):
        status = program.main()
    last = json.loads(said.getvalue().splitlines()[-1])
    if status != 0:
        raise Reported(last["error"]["message"], last["error"])
    return last


def assert_reproduced(uri: Path | str, **request: Any) -> dict[str, Any]:
    """See that an output is reproduced, and return what was said of it."""
    found = rebuild(uri, **request)
    assert (found["message"], found["cause"], found["difference"]) == ("reproduced, bit for bit", None, None)
    assert found["reproduced"] is True
    return found


def edit_lineage(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Let somebody edit an output's lineage.json."""
    file = folder / "lineage.json"
    lineage = json.loads(file.read_bytes())
    change(lineage)
    file.write_text(json.dumps(lineage))


def flip(file: Path, offset: int = -1) -> None:
    """Flip the lowest bit of one byte."""
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)
