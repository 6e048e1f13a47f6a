"""Read what a published output says it consists of: its lineage.json, which anybody may have written."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crossfade_core.errors import CheckpointError, OutputNameUnsafe, SourceCorrupted, SourceNotFound
from crossfade_core.lineage_document import MAX_LINEAGE_BYTES
from crossfade_core.own_files import EDITABLE, LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE
from crossfade_core.ports import FileInfo, Source, StagedFile
from crossfade_core.untrusted_json import are_whole, listed, load_object, shown
from crossfade_registries.plain_names import is_hidden, is_plain
from crossfade_registries.reading import read_file

_LOOSE: Final = EDITABLE | {PROVENANCE_FILE, SIGNATURE_FILE}
_NAMED: Final = 20


@dataclass(frozen=True)
class Published:
    """An output as its lineage tells it.

    Attributes:
        files: Every file with size and SHA-256, but lineage.json and those of which it tells no lasting digest.
        loose: Those, as the registry lists them: what is signed after lineage.json, and the card, which people edit.
        lineage: The content of lineage.json.
        strays: Names of files beside them that it does not tell of; hidden ones left out, which registries keep.
    """

    files: Mapping[str, StagedFile]
    loose: Mapping[str, FileInfo]
    lineage: bytes
    strays: tuple[str, ...]


def read_published(source: Source, lineage_sha256: str | None = None) -> Published:
    """Read an output's lineage, and hold the list of its files against it.

    Args:
        source: The output's folder.
        lineage_sha256: What lineage.json must be, in hex; None to take the one that is there.

    Raises:
        SourceNotFound: There is no lineage.json, or not every file that it names.
        SourceCorrupted: A file is of another size, or the lineage of another digest.
        CheckpointError: It is no crossfade lineage.
        OutputNameUnsafe: It names a file that would lie outside the folder.
    """
    present = source.files()
    if LINEAGE_FILE not in present:
        raise SourceNotFound(
            f"{source.uri}: no crossfade output, there is no {LINEAGE_FILE}; give the `uri` that the job shows",
            source=source.uri,
        )
    lineage = _read_lineage(source, present[LINEAGE_FILE], lineage_sha256)
    told = _outputs(lineage, f"{source.uri}/{LINEAGE_FILE}")
    files = {name: staged for name, staged in told.items() if name not in _LOOSE}
    _check_present(source.uri, files, present)
    loose = {name: present[name] for name in sorted(_LOOSE) if name in present}
    strays = present.keys() - files.keys() - loose.keys() - {LINEAGE_FILE}
    return Published(files, loose, lineage, tuple(sorted(name for name in strays if not is_hidden(name))))


def _read_lineage(source: Source, info: FileInfo, sha256: str | None) -> bytes:
    where = f"{source.uri}/{LINEAGE_FILE}"
    if info.size_bytes > MAX_LINEAGE_BYTES:
        raise CheckpointError(f"{where}: {info.size_bytes} bytes, over {MAX_LINEAGE_BYTES}", file=LINEAGE_FILE)
    content = read_file(source, info)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise SourceCorrupted(
            f"{where}: SHA-256 {sha256.lower()} expected, {found} found; it is not the output that was published",
            source=source.uri,
            file=LINEAGE_FILE,
        )
    return content


def _outputs(lineage: bytes, where: str) -> dict[str, StagedFile]:
    outputs = load_object(lineage, where, CheckpointError).get("outputs")
    if not isinstance(outputs, dict) or not outputs:
        raise CheckpointError(f"{where}: it tells of no outputs; it is no crossfade lineage", file=LINEAGE_FILE)
    return {_plain(name, where): _staged(name, facts, where) for name, facts in outputs.items()}


def _plain(name: str, where: str) -> str:
    if not is_plain(name) or name == LINEAGE_FILE or len(name) > 255:
        raise OutputNameUnsafe(f"{where}: {shown(name)} is no plain file name; nothing was fetched", file=shown(name))
    return name


def _staged(name: str, facts: object, where: str) -> StagedFile:
    size, sha256 = (facts.get("size_bytes"), facts.get("sha256")) if isinstance(facts, dict) else (None, None)
    sizes = [size]
    if are_whole(sizes) and isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256):
        return StagedFile(sizes[0], sha256)
    raise CheckpointError(f"{where}: of {shown(name)} it tells no size and SHA-256", file=LINEAGE_FILE)


def _check_present(uri: str, files: Mapping[str, StagedFile], present: Mapping[str, FileInfo]) -> None:
    missing = sorted(files.keys() - present.keys())
    if missing:
        raise SourceNotFound(
            f"{uri}: {LINEAGE_FILE} tells of {listed(missing, _NAMED)}, which is not there; the output is not whole",
            source=uri,
            files=missing[:_NAMED],
        )
    wrong = [
        f"{name}: {staged.size_bytes} bytes expected, {present[name].size_bytes} found"
        for name, staged in sorted(files.items())
        if present[name].size_bytes != staged.size_bytes
    ]
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise SourceCorrupted(
            f"{uri}: not as {LINEAGE_FILE} tells: {'; '.join(wrong[:_NAMED])}{more}",
            source=uri,
        )
