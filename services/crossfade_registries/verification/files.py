"""The files of an output against the digests that its documents tell. Each is read once; memory: one block of 8 MiB."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from crossfade_core.own_files import EDITABLE, LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE, UNSIGNED
from crossfade_core.ports import FileInfo, Source
from crossfade_registries.plain_names import is_hidden
from crossfade_registries.reading import read_in_blocks
from crossfade_registries.verification.documents import Documents
from crossfade_registries.verification.folder import tell_hidden
from crossfade_registries.verification.report import Report

BLOCK_BYTES: Final = 8 << 20
_DOCUMENTS: Final = frozenset({LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE})

Tick = Callable[[int, int], None]
"""Told how many bytes are hashed, of how many."""


@dataclass(frozen=True)
class Claim:
    """What the documents say of one file.

    Attributes:
        size_bytes: Where one tells it.
        sha256: What each says, by the document's name.
    """

    size_bytes: int | None = None
    sha256: dict[str, str] = field(default_factory=dict)


def claims_of(documents: Documents) -> dict[str, Claim]:
    """Return what lineage and signature say of every file, by name."""
    claims: dict[str, Claim] = {}
    if documents.lineage is not None:
        for name, about in documents.lineage.outputs.items():
            claims[name] = Claim(about.size_bytes, {LINEAGE_FILE: about.sha256})
    if documents.manifest is not None:
        for name, digest in documents.manifest.files.items():
            claims.setdefault(name, Claim()).sha256[SIGNATURE_FILE] = digest
    return claims


class FileChecks:
    """The checks of one output's files.

    Args:
        source: Its folder.
        present: The files there.
        documents: What it says of itself.
        report: Gets a row for each file that is not as it must be, and one for all others.
    """

    def __init__(self, source: Source, present: Mapping[str, FileInfo], documents: Documents, report: Report) -> None:
        self._source, self._present, self._report = source, present, report
        self._claims = claims_of(documents)
        self._found = dict(documents.sha256)
        self._missing = sorted(self._claims.keys() - present.keys())
        unknown = present.keys() - self._claims.keys() - _DOCUMENTS - set(UNSIGNED)
        self._extra = sorted(name for name in unknown if not is_hidden(name))
        self._hidden = unknown.difference(self._extra)
        self._memory = memoryview(bytearray(BLOCK_BYTES))
        self._done_bytes = self._total_bytes = 0

    def run(self, tick: Tick) -> Mapping[str, str]:
        """Check every file; return the hex SHA-256 of those that were hashed, by name.

        Raises:
            SourceError: A file cannot be read.
        """
        asked = [name for name in self._to_hash() if name not in self._found]
        self._total_bytes = sum(self._present[name].size_bytes for name in asked)
        self._source.expect([(name, 0, self._present[name].size_bytes) for name in asked])
        for name in asked:
            self._found[name] = self._hash(name, tick)
        good = [name for name in sorted(self._claims.keys() & self._present.keys()) if self._check(name)]
        self._check_names()
        if good:
            size_bytes = sum(self._present[name].size_bytes for name in good)
            self._report.ok("files", f"{len(good)} files", f"{size_bytes} bytes, with the SHA-256 that is told of each")
        return self._found

    def _to_hash(self) -> list[str]:
        """List what is read: what is told of and has the size told, and what a missing file may be called now."""
        told = [name for name in self._claims if name in self._present and self._has_told_size(name)]
        sizes = {self._claims[name].size_bytes for name in self._missing}
        renamed = [name for name in self._extra if None in sizes or self._present[name].size_bytes in sizes]
        return sorted({*told, *(renamed if self._missing else [])})

    def _has_told_size(self, name: str) -> bool:
        return name in EDITABLE or self._claims[name].size_bytes in (None, self._present[name].size_bytes)

    def _hash(self, name: str, tick: Tick) -> str:
        digest = hashlib.sha256()
        for block in read_in_blocks(self._source, (name, 0, self._present[name].size_bytes), self._memory):
            digest.update(block)
            self._done_bytes += len(block)
            tick(self._done_bytes, self._total_bytes)
        return digest.hexdigest()

    def _check(self, name: str) -> bool:
        """Add a row where a file is not as it must be; tell whether it is."""
        claim, size_bytes = self._claims[name], self._present[name].size_bytes
        found = self._found.get(name)
        wrong = {document: digest for document, digest in claim.sha256.items() if digest != found}
        if not wrong:
            return True
        if name in EDITABLE and SIGNATURE_FILE not in wrong:
            self._report.told("files", name, f"was edited since it was published, as {LINEAGE_FILE} tells; it may be")
        elif found is None or not self._has_told_size(name):
            expected = f"{claim.size_bytes} bytes expected by {LINEAGE_FILE}"
            self._report.failed("files", name, f"{expected}, {size_bytes} found: it was cut or replaced; get it again")
        else:
            documents, digests = " and ".join(wrong), " and ".join(dict.fromkeys(wrong.values()))
            like = next(
                (of for of, other in self._claims.items() if of != name and found in other.sha256.values()), None
            )
            whose = f", which is that of {like}" if like else ""
            self._report.failed(
                "files", name, f"SHA-256 {digests} expected by {documents}, {found} found{whose}: it was changed"
            )
        return False

    def _check_names(self) -> None:
        extra = set(self._extra)
        for name in self._missing:
            digests = set(self._claims[name].sha256.values())
            now = next((other for other in self._extra if self._found.get(other) in digests), None)
            if now is not None:
                extra.discard(now)
                self._report.failed("files", name, f"was renamed: {now} is it, by its SHA-256")
            elif name in EDITABLE and SIGNATURE_FILE not in self._claims[name].sha256:
                self._report.told("files", name, "is not there; it may be removed, as it may be edited")
            else:
                tellers = self._claims[name].sha256
                who = f"{' and '.join(tellers)} {'tells' if len(tellers) == 1 else 'tell'}"
                self._report.failed("files", name, f"is missing, and {who} of it; get it again")
        for name in sorted(extra):
            self._report.failed("files", name, "is extra: no document of the output tells of it; remove it")
        tell_hidden(self._hidden, self._report)
