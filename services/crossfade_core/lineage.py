"""What a published checkpoint tells about itself: the lineage record and the model card. Pure: facts in, text out.

The record holds no time of its own making, so that publishing again after a crash gives the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossfade_core.spec import MergeSpec, SourceRef

LINEAGE_FILE: Final = "lineage.json"
CARD_FILE: Final = "README.md"
LINEAGE_SCHEMA: Final = "crossfade.lineage/1"
FORMULA: Final = "M(λ) = base + λ·(instruct − base)"

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
        base_files: Every input file read from the base, with its digest.
        instruct_files: The same of the instruct.
        plan: `MergePlan.summary()`.
        outputs: Every file of the output but `lineage.json` itself.
        software: Versions that computed the weights, one entry for each distinct set.
    """

    spec: MergeSpec
    spec_digest: str
    job_id: str
    created_at: str
    lam: float
    base_files: FileFacts
    instruct_files: FileFacts
    plan: Mapping[str, Any]
    outputs: FileFacts
    software: Sequence[Mapping[str, str]]


def lineage_json(lineage: Lineage) -> bytes:
    """Return `lineage.json`: what went in, what was asked, what was planned, what computed it, what came out."""
    document = {
        "schema": LINEAGE_SCHEMA,
        "formula": FORMULA,
        "lambda": lineage.lam,
        "job": {"id": lineage.job_id, "created_at": lineage.created_at},
        "spec": lineage.spec.model_dump(mode="json"),
        "spec_digest": lineage.spec_digest,
        "inputs": {
            "base": {"uri": lineage.spec.base, "files": _sorted(lineage.base_files)},
            "instruct": {"uri": lineage.spec.instruct, "files": _sorted(lineage.instruct_files)},
        },
        "plan": dict(lineage.plan),
        "software": [dict(versions) for versions in lineage.software],
        "outputs": _sorted(lineage.outputs),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def model_card(spec: MergeSpec, lam: float, job_id: str) -> bytes:
    """Return `README.md`: front matter the Hub understands, and the formula in words.

    Front matter is YAML; its values are written as JSON strings, which YAML reads as they stand.
    Source: https://huggingface.co/docs/hub/model-cards#specifying-a-base-model
    """
    base, instruct = SourceRef.parse(spec.base).name, SourceRef.parse(spec.instruct).name
    return f"""---
base_model:
- {json.dumps(base, ensure_ascii=False)}
- {json.dumps(instruct, ensure_ascii=False)}
base_model_relation: merge
library_name: transformers
tags:
- merge
- crossfade
- partial-adaptation
---
# {instruct} at λ = {lam}

A *partial adaptation* made by crossfade: every floating-point tensor is

    {FORMULA}    with λ = {lam}

λ = 0 is the base, λ = 1 the instruct model. The method: [arXiv 2504.11626](https://arxiv.org/abs/2504.11626).

| | |
|---|---|
| base | `{spec.base}` |
| instruct | `{spec.instruct}` |
| λ | {lam} |
| dtype | {spec.out_dtype} |
| config and tokenizer from | {spec.tokenizer_from} |
| job | `{job_id}` |

`lineage.json` lists every input and output file with its SHA-256 and the versions that computed this checkpoint.
""".encode()


def _sorted(files: FileFacts) -> dict[str, dict[str, Any]]:
    return {name: {key: files[name][key] for key in ("size_bytes", "sha256")} for name in sorted(files)}
