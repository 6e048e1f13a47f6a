"""Read `lineage.json` files that anybody may have written: checked from the first byte, a named error for any fault."""

import os
from pathlib import Path
from typing import Final

from crossfade_core.errors import CheckpointError, NoCheckpoint, SourceNotFound, SourceUnavailable
from crossfade_core.lineage_document import MAX_LINEAGE_BYTES, LineageDocument, parse_lineage
from crossfade_core.own_files import LINEAGE_FILE

_MOST_FOLDERS_DOWN: Final = 4
"""An output's name has at most four parts (`crossfade_core.spec.check_output_name`)."""


def find_outputs(folder: Path) -> list[Path]:
    """Return the output that `folder` is, or every output below it, in the order of their paths.

    Raises:
        SourceNotFound: There is no such folder.
        NoCheckpoint: There is no lineage.json in it, nor in a folder at most four below.
    """
    if not folder.is_dir():
        raise SourceNotFound(f"{folder}: no such folder; give an output's folder or one that holds outputs")
    if (folder / LINEAGE_FILE).is_file():
        return [folder]
    found = []
    for parent, names, files in os.walk(folder):
        depth = len(Path(parent).relative_to(folder).parts)
        names[:] = sorted(name for name in names if not name.startswith(".")) if depth < _MOST_FOLDERS_DOWN else []
        if LINEAGE_FILE in files:
            found.append(Path(parent))
            names.clear()
    if not found:
        raise NoCheckpoint(f"{folder}: holds no output of crossfade: no {LINEAGE_FILE} in it nor below")
    return sorted(found)


def read_lineage(output: Path) -> LineageDocument:
    """Read the lineage record of an output.

    Raises:
        SourceUnavailable: The file cannot be read.
        CheckpointError: It is too large, no JSON, of another schema, or lacks what that schema holds.
    """
    file = output / LINEAGE_FILE
    return parse_lineage(_read(file), str(file))


def _read(file: Path) -> bytes:
    try:
        if not file.is_file():  # a pipe would keep us waiting for ever
            raise CheckpointError(f"{file}: no plain file; merge again", file=str(file))
        with file.open("rb") as opened:
            content = opened.read(MAX_LINEAGE_BYTES + 1)
    except OSError as error:
        raise SourceUnavailable(f"{file}: cannot be read: {error.strerror}", file=str(file)) from error
    if len(content) > MAX_LINEAGE_BYTES:
        raise CheckpointError(f"{file}: over {MAX_LINEAGE_BYTES} bytes; this is no lineage record", file=str(file))
    return content
