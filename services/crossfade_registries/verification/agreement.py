"""The documents of an output against each other: λ, the files they speak of, and who signed them."""

from collections.abc import Iterable, Mapping
from typing import Final

from crossfade_core.lineage_document import LineageDocument
from crossfade_core.own_files import LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE, UNSIGNED
from crossfade_core.spec import ACCEPTED, MergeSpec
from crossfade_core.untrusted_json import listed
from crossfade_registries.verification.documents import Documents
from crossfade_registries.verification.report import Report

_NAMED: Final = 3


def check_agreement(documents: Documents, found: Mapping[str, str], report: Report) -> None:
    """Add rows for what the documents say of each other.

    Args:
        documents: What the output says of itself.
        found: Hex SHA-256 of the files as they are, by name.
        report: Gets the rows.
    """
    _check_lambda(documents, report)
    _check_covered(documents, report)
    _check_subjects(documents, found, report)
    _check_signers(documents, report)


def _check_lambda(documents: Documents, report: Report) -> None:
    lineage, provenance = documents.lineage, documents.provenance
    if lineage is None:
        return
    asked = lineage.spec.get("lambdas")
    if not isinstance(asked, list) or lineage.lam not in asked:
        report.failed(
            "lambda", LINEAGE_FILE, f"says λ = {lineage.lam!r}, and its own spec asks for {asked!r:.200}: it was edited"
        )
    elif (called := _name_of(lineage)) not in (None, lineage.output.name):
        report.failed(
            "lambda",
            LINEAGE_FILE,
            f"says λ = {lineage.lam!r} of {lineage.output.name!r:.200}, and its own spec calls that λ "
            f"{called!r:.200}: it was edited",
        )
    if provenance is None:
        return
    if _number(provenance.lam) != lineage.lam:
        report.failed(
            "lambda",
            LINEAGE_FILE,
            f"says λ = {lineage.lam!r}, and {PROVENANCE_FILE} says λ = {provenance.lam!r:.50}: one of them was edited",
        )
    else:
        report.ok("lambda", f"λ = {lineage.lam!r}", f"in {LINEAGE_FILE} and in {PROVENANCE_FILE}")


def _name_of(lineage: LineageDocument) -> str | None:
    """Return what the spec of a lineage calls the output of its λ; None where it is no spec."""
    try:
        spec = MergeSpec.model_validate(lineage.spec, context=ACCEPTED)
        return spec.output_names(lineage.job.id)[spec.lambdas.index(lineage.lam)]
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _check_covered(documents: Documents, report: Report) -> None:
    lineage, manifest = documents.lineage, documents.manifest
    if lineage is None or manifest is None:
        return
    for name in sorted({*lineage.outputs, LINEAGE_FILE} - manifest.files.keys() - set(UNSIGNED)):
        report.failed("signature", name, f"{SIGNATURE_FILE} does not cover it; the output must be signed again")
    for name in sorted(manifest.files.keys() - lineage.outputs.keys() - {LINEAGE_FILE, PROVENANCE_FILE}):
        report.failed("lineage", name, f"{SIGNATURE_FILE} covers it, and {LINEAGE_FILE} does not tell of it")


def _check_subjects(documents: Documents, found: Mapping[str, str], report: Report) -> None:
    provenance = documents.provenance
    if provenance is None:
        return
    wrong = sorted(name for name, digest in provenance.subjects.items() if found.get(name) != digest)
    lineage = documents.lineage
    covered = set() if lineage is None else {*lineage.outputs, LINEAGE_FILE} - set(UNSIGNED)
    missing = sorted(covered - provenance.subjects.keys())
    if wrong:
        how_many = f"{len(wrong)} of its {len(provenance.subjects)} files are not these"
        report.failed(
            "provenance", PROVENANCE_FILE, f"{how_many}: {listed(wrong, _NAMED)}; they were changed, or it is another's"
        )
    if missing:
        report.failed("provenance", PROVENANCE_FILE, f"does not speak of {listed(missing, _NAMED)}")
    if not wrong and not missing:
        report.ok("provenance", PROVENANCE_FILE, f"speaks of these {len(provenance.subjects)} files")


def _check_signers(documents: Documents, report: Report) -> None:
    manifest, provenance = documents.manifest, documents.provenance
    if manifest is None or provenance is None:
        return
    by = [_signers(signed.key_id, signed.claimed_key_ids) for signed in (manifest, provenance)]
    if not all(by):
        return
    both = f"{SIGNATURE_FILE} and {PROVENANCE_FILE}"
    if by[0] & by[1]:
        if manifest.key_id is not None and provenance.key_id is not None:
            report.ok("signature", both, "are signed by the same key")
    else:
        one, other = (listed(each, _NAMED) for each in by)
        report.failed("signature", both, f"are signed by different keys: {one} and {other}")


def _signers(key_id: str | None, claimed: Iterable[str]) -> frozenset[str]:
    """Return the key that verified it, else those that it names."""
    return frozenset(claimed if key_id is None else [key_id])
