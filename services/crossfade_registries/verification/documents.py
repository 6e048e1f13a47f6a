"""The three documents by which an output is checked: read once, each fault of theirs a row of the report."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from crossfade_core.errors import CheckpointError, SignatureInvalid
from crossfade_core.lineage_document import MAX_LINEAGE_BYTES, LineageDocument, parse_lineage
from crossfade_core.own_files import LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE
from crossfade_core.ports import FileInfo, Source
from crossfade_registries.reading import read_file
from crossfade_registries.verification.provenance_view import Provenance, read_provenance
from crossfade_registries.verification.report import Report
from crossfade_signing import dsse, model_bundle
from crossfade_signing.model_bundle import SignedManifest
from crossfade_signing.public_keys import PublicKey

MAX_BYTES: Final = {
    LINEAGE_FILE: MAX_LINEAGE_BYTES,
    SIGNATURE_FILE: model_bundle.MAX_BUNDLE_BYTES,
    PROVENANCE_FILE: dsse.MAX_ENVELOPE_BYTES,
}


@dataclass(frozen=True)
class Documents:
    """What an output says of itself; None of a document that is not there or cannot be read.

    Attributes:
        lineage: What it is made of, and of which files it consists.
        manifest: What was signed of its files.
        provenance: What was asked for, and of which files that is told.
        sha256: Of those documents that are there, in hex, by name.
    """

    lineage: LineageDocument | None
    manifest: SignedManifest | None
    provenance: Provenance | None
    sha256: Mapping[str, str]


class Signed(Protocol):
    """What has a signature."""

    @property
    def key_id(self) -> str | None:
        """The key that verified it."""


_Signed = TypeVar("_Signed", bound=Signed)


def read_documents(
    source: Source, present: Mapping[str, FileInfo], keys: Sequence[PublicKey], report: Report
) -> Documents:
    """Read and verify the documents of an output.

    Args:
        source: Its folder.
        present: The files there.
        keys: The public keys of those who may have signed it; none where signatures are not checked.
        report: Gets a row for each document, or more.

    Raises:
        SourceError: A document cannot be read.
    """
    raw = {name: _raw(source, present[name], report) for name in MAX_BYTES if name in present}
    lineage = None
    content = raw.get(LINEAGE_FILE)
    if content is not None:
        try:
            lineage = parse_lineage(content, LINEAGE_FILE)
        except CheckpointError as error:
            report.failed("lineage", LINEAGE_FILE, error.message)
    elif LINEAGE_FILE not in present:
        report.failed("lineage", LINEAGE_FILE, "is not there; crossfade publishes no output without it")
    manifest = _read_signed(SIGNATURE_FILE, raw, keys, model_bundle.read, report)
    provenance = _read_signed(PROVENANCE_FILE, raw, keys, read_provenance, report)
    _tell_unsigned(present, report, is_asked=bool(keys))
    digests = {name: hashlib.sha256(found).hexdigest() for name, found in raw.items() if found is not None}
    return Documents(lineage, manifest, provenance, digests)


def check_lineage_digest(documents: Documents, sha256: str | None, report: Report) -> None:
    """Add a row for whether lineage.json is what the job shows; one that is missing or too large has its row already.

    Args:
        documents: What the output says of itself.
        sha256: What lineage.json must be, in hex; None where nobody told.
        report: Gets the row.
    """
    found = documents.sha256.get(LINEAGE_FILE)
    if sha256 is None or found is None:
        return
    if found == sha256.lower():
        report.ok("lineage", LINEAGE_FILE, "has the SHA-256 that was given")
    else:
        report.failed(
            "lineage",
            LINEAGE_FILE,
            f"SHA-256 {sha256.lower()} expected, {found} found: it is not the output that was published",
        )


def _raw(source: Source, info: FileInfo, report: Report) -> bytes | None:
    limit = MAX_BYTES[info.name]
    if info.size_bytes <= limit:
        return read_file(source, info)
    report.failed("files", info.name, f"has {info.size_bytes} bytes; at most {limit} expected of it")
    return None


def _read_signed(
    name: str,
    raw: Mapping[str, bytes | None],
    keys: Sequence[PublicKey],
    read: Callable[[bytes, Sequence[PublicKey]], _Signed],
    report: Report,
) -> _Signed | None:
    """Read a signed document; one by another key is read too, so that it can be told what else is wrong."""
    content = raw.get(name)
    if content is None:
        return None
    try:
        try:
            found = read(content, keys)
        except SignatureInvalid as error:
            report.failed("signature", name, error.message)
            return read(content, ())
    except CheckpointError as error:
        report.failed("signature", name, error.message)
        return None
    if found.key_id is None:
        report.not_checked("signature", name, "by whom it is was not checked: give --key")
    else:
        report.ok("signature", name, f"by key {found.key_id}")
    return found


def _tell_unsigned(present: Mapping[str, FileInfo], report: Report, *, is_asked: bool) -> None:
    if SIGNATURE_FILE in present:
        return
    if PROVENANCE_FILE in present:
        report.failed(
            "signature",
            SIGNATURE_FILE,
            f"is not there, and {PROVENANCE_FILE} is: whoever signs writes both; get it again",
        )
    elif is_asked:
        report.failed("signature", SIGNATURE_FILE, "is not there: the output is not signed, and --key asks by whom")
    else:
        report.told("signature", SIGNATURE_FILE, "is not there: nobody vouches for this output")
