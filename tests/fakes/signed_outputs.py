"""Signed outputs with weights of no meaning: what tells of them is made by those who make it for real."""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from crossfade_core.in_toto import PAYLOAD_TYPE
from crossfade_core.lineage import Lineage, lineage_json
from crossfade_core.own_files import CARD_FILE, LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE
from crossfade_core.ports import Signer
from crossfade_core.provenance import Builder, provenance_statement
from crossfade_core.spec import MergeSpec, spec_digest
from crossfade_signing import dsse, model_bundle

SHARDS: Final = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
FILES: Final[dict[str, bytes]] = {
    SHARDS[0]: random.Random(1).randbytes(20_000_003),
    SHARDS[1]: random.Random(2).randbytes(70_001),
    "model.safetensors.index.json": b"{}",
    "config.json": b'{"model_type": "llama"}',
    CARD_FILE: b"# A model",
}
"""The first is more than two blocks of a verification."""
LAMBDAS: Final = (0.25, 0.5, 0.75)


def write_signed_output(
    folder: Path, signer: Signer | None, files: Mapping[str, bytes] = FILES, *, lam: float = 0.5
) -> Path:
    """Write an output's folder and return it; without a signer it is not signed."""
    lineage = _lineage(lam)
    outputs = {name: _about(content) for name, content in files.items()}
    documents = {LINEAGE_FILE: lineage_json(_of(lineage, outputs))}
    outputs[LINEAGE_FILE] = _about(documents[LINEAGE_FILE])
    if signer is not None:
        statement = provenance_statement(_of(lineage, outputs), Builder())
        documents[PROVENANCE_FILE] = dsse.sign(statement, PAYLOAD_TYPE, signer)
        outputs[PROVENANCE_FILE] = _about(documents[PROVENANCE_FILE])
        digests = {name: about["sha256"] for name, about in outputs.items()}
        documents[SIGNATURE_FILE] = model_bundle.sign(digests, signer, name=folder.name)
    folder.mkdir(parents=True)
    for name, content in {**files, **documents}.items():
        (folder / name).write_bytes(content)
    return folder


def change_lineage(folder: Path, **fields: Any) -> None:
    """Rewrite fields of an output's lineage.json, and of nothing else."""
    file = folder / LINEAGE_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def _about(content: bytes) -> dict[str, Any]:
    return {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _of(lineage: dict[str, Any], outputs: Mapping[str, Mapping[str, Any]]) -> Lineage:
    return Lineage(**lineage, outputs=dict(outputs))


def _lineage(lam: float) -> dict[str, Any]:
    fields = {"base": "local://m/base", "instruct": "local://m/tuned", "lambdas": LAMBDAS, "destination": "out"}
    spec = MergeSpec.model_validate(fields)
    figures = dict.fromkeys(("realised", "relative_delta_norm", "unchanged_share", "rounding_error"), 0.5)
    return {
        "spec": spec,
        "spec_digest": spec_digest(spec),
        "job_id": "job-1",
        "created_at": "2026-11-20T17:00:00+00:00",
        "lam": lam,
        "output_name": spec.output_names("job-1")[LAMBDAS.index(lam)],
        "sources": spec.sources,
        "inputs": {"base": {"model.safetensors": _about(b"base")}, "instruct": {"model.safetensors": _about(b"tuned")}},
        "plan": {"tensors": 3},
        "exceptions": (),
        "config_changes": {},
        "statistics": {"method": "exact", "requested": lam, **figures, "warnings": [], "tensors": []},
        "software": [{"crossfade": "0.1.0"}],
    }
