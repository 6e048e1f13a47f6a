"""The facts behind one output, as the tests of its documents vary them."""

from typing import Any

from crossfade_core.lineage import Lineage
from crossfade_core.spec import MergeSpec, spec_digest

STATISTICS = {"method": "exact", "realised": 0.0268, "relative_delta_norm": 0.0013, "warnings": [], "tensors": []}
CHAIN = {"delta_of": ["local://m/chat", "local://m/old-base"], "skip": ["*embed_tokens*"]}
ON_THE_HUB = {"base": "hf://acme/base", "instruct": "hf://acme/tuned@v2"}
PINNED = {"base": f"hf://acme/base@{'a' * 40}", "instruct": f"hf://acme/tuned@{'b' * 40}"}


def digest(letter: str) -> dict[str, Any]:
    return {"size_bytes": 5, "sha256": letter * 64}


OUTPUTS = {
    "model-00001-of-00002.safetensors": digest("1"),
    "model-00002-of-00002.safetensors": digest("2"),
    "model.safetensors.index.json": digest("3"),
    "config.json": digest("4"),
    "tokenizer.json": digest("5"),
}


def spec(**changes: Any) -> MergeSpec:
    fields = {"base": "local://m/base", "instruct": "local://m/tuned", "lambdas": [0.1], "destination": "out"}
    return MergeSpec.model_validate({**fields, **changes})


def lineage(asked: MergeSpec | None = None, *, told: dict[str, Any] | None = None, **changes: Any) -> Lineage:
    """Return a lineage; `told` changes its statistics, `changes` anything else."""
    asked = asked or spec()
    facts = {
        "spec": asked,
        "spec_digest": spec_digest(asked),
        "job_id": "job-1",
        "created_at": "2026-11-20T17:00:00+00:00",
        "lam": 0.1,
        "output_name": "tuned-pad-0.1",
        "sources": asked.sources,
        "inputs": {role: {f"{role}.safetensors": digest("b")} for role in asked.sources},
        "plan": {"tensors": 3, "out_dtypes": {"BF16": 3}, "actions": {"interpolate": 3}},
        "exceptions": [],
        "config_changes": {},
        "statistics": {**STATISTICS, **(told or {})},
        "outputs": OUTPUTS,
        "software": [{"crossfade": "0.1.0", "torch": "2.9.0", "python": "3.11.7", "machine": "x86_64"}],
    }
    return Lineage(**{**facts, **changes})
