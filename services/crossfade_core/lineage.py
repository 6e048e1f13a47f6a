"""What a published checkpoint tells about itself to machines, all of it: the lineage record. Pure: facts in, text out.

The record holds no time of its own making, so that publishing again after a crash gives the same bytes. What people
read first is the model card's (`crossfade_core.model_card`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from crossfade_core.lineage_document import LINEAGE_SCHEMA
from crossfade_core.spec import MergeSpec, Role

FORMULA: Final = "M(λ) = base + λ·(instruct − base)"
CHAIN_FORMULA: Final = "M(λ) = base + λ·(A − B)"
"""Where the instruct side is a chain: A is the role `instruct`, B the role `reference`."""

COMPANION_FILES: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
)
"""Files copied byte for byte from one parent: an allow-list, so that no code (`*.py`) or pickle ever travels along."""

FileFacts = Mapping[str, Mapping[str, Any]]
"""File name to {"size_bytes": int, "sha256": hex}."""


@dataclass(frozen=True)
class Lineage:
    """The facts behind one output.

    Attributes:
        spec: What the user asked for.
        spec_digest: Its digest.
        job_id: The job that made it.
        created_at: When the job was submitted, ISO 8601 in UTC.
        lam: The strength of this output.
        output_name: Its name below the destination.
        sources: The pinned URI of every source, by role.
        inputs: Every file read, with its digest, for each role of `spec.sources`.
        plan: `MergePlan.summary()`.
        exceptions: `MergePlan.exceptions()`: {tensor, action, reason} of all that was not plainly interpolated.
        config_changes: What config.json says other than the one it was copied from.
        statistics: What this λ really did: the output's figures, `warnings`, and the figures of `tensors`.
        outputs: Every file of the output so far: each document tells of those before it.
        software: Versions that computed the weights, one entry for each distinct set.
        licences: What the card of each source says of its licence, as `LicenceRecord`.
        signatures: What came of looking at the signature of each source, as `SourceSignature`.
    """

    spec: MergeSpec
    spec_digest: str
    job_id: str
    created_at: str
    lam: float
    output_name: str
    sources: Mapping[Role, str]
    inputs: Mapping[Role, FileFacts]
    plan: Mapping[str, Any]
    exceptions: Sequence[Mapping[str, str]]
    config_changes: Mapping[str, Any]
    statistics: Mapping[str, Any]
    outputs: FileFacts
    software: Sequence[Mapping[str, str]]
    licences: Mapping[Role, Mapping[str, str | None] | None] = field(default_factory=dict)
    signatures: Mapping[Role, Mapping[str, str | None] | None] = field(default_factory=dict)


def lineage_json(lineage: Lineage) -> bytes:
    """Return `lineage.json`: what went in, what was asked, planned and really done, what computed it, what came out."""
    document = {
        "schema": LINEAGE_SCHEMA,
        "formula": formula(lineage.spec),
        "lambda": lineage.lam,
        "output": {"name": lineage.output_name},
        "job": {"id": lineage.job_id, "created_at": lineage.created_at},
        "spec": lineage.spec.model_dump(mode="json"),
        "spec_digest": lineage.spec_digest,
        "inputs": {role: _input(lineage, role) for role in lineage.sources},
        "plan": {
            **lineage.plan,
            "exceptions": [dict(exception) for exception in lineage.exceptions],
            "config_changes": dict(lineage.config_changes),
        },
        "software": [dict(versions) for versions in lineage.software],
        "outputs": _sorted(lineage.outputs),
        "statistics": dict(lineage.statistics),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _input(lineage: Lineage, role: Role) -> dict[str, Any]:
    return {
        "uri": lineage.sources[role],
        "files": _sorted(lineage.inputs.get(role, {})),
        "licence": lineage.licences.get(role),
        "signature": lineage.signatures.get(role),
    }


def formula(spec: MergeSpec) -> str:
    """Return what the outputs are, as a formula: of a model or an adapter, or of a chain."""
    return FORMULA if isinstance(spec.instruct, str) else CHAIN_FORMULA


def _sorted(files: FileFacts) -> dict[str, dict[str, Any]]:
    return {name: {key: files[name][key] for key in ("size_bytes", "sha256")} for name in sorted(files)}
