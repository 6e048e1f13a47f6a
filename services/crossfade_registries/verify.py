"""`python -m crossfade_registries.verify`: hold one published output against its documents, and those against keys.

Reads one JSON object from standard input and writes one JSON object a line to standard output; `crossfade verify` is
the face of it. A process of its own because the CLI must not load the registries (import rules).
"""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossfade_core.errors import NoCheckpoint
from crossfade_core.own_files import LINEAGE_FILE, SIGNATURE_FILE
from crossfade_registries.json_program import emit, run_program
from crossfade_registries.output_source import local_folder, open_output
from crossfade_registries.verification.agreement import check_agreement
from crossfade_registries.verification.documents import check_lineage_digest, read_documents
from crossfade_registries.verification.files import FileChecks
from crossfade_registries.verification.folder import check_links, check_unlisted
from crossfade_registries.verification.report import Report
from crossfade_signing.public_keys import read_public_key_file


def _verify(request: Mapping[str, Any]) -> dict[str, Any]:
    uri, report = str(request["uri"]), Report()
    keys = [read_public_key_file(Path(file)) for file in request.get("keys", ())]
    with contextlib.closing(open_output(uri)) as source:
        present = source.files()
        if not present.keys() & {LINEAGE_FILE, SIGNATURE_FILE}:
            raise NoCheckpoint(
                f"{uri}: neither {LINEAGE_FILE} nor {SIGNATURE_FILE} is there: nothing tells what it must be; give an "
                "output of crossfade"
            )
        documents = read_documents(source, present, keys, report)
        check_lineage_digest(documents, request.get("lineage_sha256"), report)
        found = FileChecks(source, present, documents, report).run(_tick)
        folder = local_folder(uri)
        if folder is not None:
            check_links(folder, present, report)
        check_unlisted(source, report)
    check_agreement(documents, found, report)
    lineage, manifest = documents.lineage, documents.manifest
    return {
        "uri": uri,
        "lambda": None if lineage is None else lineage.lam,
        "signed_by": None if manifest is None else manifest.key_id,
        **report.as_json(),
    }


def _tick(done_bytes: int, total_bytes: int) -> None:
    emit("progress", bytes_done=done_bytes, bytes_total=total_bytes)


if __name__ == "__main__":
    sys.exit(run_program(_verify))
