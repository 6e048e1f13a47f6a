"""The model card: what people read first of a published checkpoint, and the front matter the Hub reads. Pure.

Everything in it is in `lineage.json` too; it holds no time of its own making.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from crossfade_core.lineage import formula
from crossfade_core.source_ref import parse_source
from crossfade_core.spec import MergeSpec, Role

_TOLD_WHERE_GIVEN: Final = {"schedule", "rounding", "seed", "policies"}
"""Fields of the spec that change the numbers; the card shows those that are not at their default."""


def model_card(
    spec: MergeSpec, lam: float, job_id: str, *, sources: Mapping[Role, str], statistics: Mapping[str, Any]
) -> bytes:
    """Return `README.md`: front matter, the formula in words, where it comes from, what this λ really did.

    Front matter is YAML; its values are written as JSON strings, which YAML reads as they stand.
    Source: https://huggingface.co/docs/hub/model-cards#specifying-a-base-model

    Args:
        spec: What the user asked for.
        lam: The strength of this output.
        job_id: The job that made it.
        sources: The pinned URI of every source, by role.
        statistics: As in the lineage record; the output's figures and `warnings` are read.
    """
    names = {role: parse_source(uri).title for role, uri in spec.sources.items()}
    base_models = "\n".join(f"- {json.dumps(name, ensure_ascii=False)}" for name in dict.fromkeys(names.values()))
    rows = "\n".join(f"| {name} | {value} |" for name, value in _rows(spec, lam, job_id, sources, statistics).items())
    return f"""---
base_model:
{base_models}
base_model_relation: merge
library_name: transformers
tags:
- merge
- crossfade
- partial-adaptation
---
# {_subject(names)} at λ = {lam}

A *partial adaptation* made by crossfade: every floating-point tensor is

    {formula(spec)}    with λ = {lam}

{_reading(spec)}
{_warning(statistics)}
| | |
|---|---|
{rows}
{_not_at_defaults(spec)}
`lineage.json` lists every input and output file with its SHA-256, the versions that computed this checkpoint, every
tensor that was not plainly interpolated, and what λ really did to each tensor.
""".encode()


def _subject(names: Mapping[Role, str]) -> str:
    if "reference" in names:
        return f"{names['base']} + ({names['instruct']} − {names['reference']})"
    return names["instruct"]


def _reading(spec: MergeSpec) -> str:
    if isinstance(spec.instruct, str):
        return f"λ = 0 is the base, λ = 1 the instruct model. The method: {_arxiv('2504.11626')}."
    return f"λ = 0 is the base, λ = 1 adds the whole difference of A and B. The method: {_arxiv('2310.04799')}."


def _arxiv(number: str) -> str:
    return f"[arXiv {number}](https://arxiv.org/abs/{number})"


def _rows(
    spec: MergeSpec, lam: float, job_id: str, sources: Mapping[Role, str], statistics: Mapping[str, Any]
) -> dict[str, str]:
    titles = {"base": "base", "instruct": "instruct"}
    if "reference" in spec.sources:
        titles |= {"instruct": "A", "reference": "B"}
    found = {titles[role]: f"`{uri}`" for role, uri in sources.items()}
    found["λ"] = f"{lam}"
    if spec.schedule and "requested" in statistics:
        found["mean strength by the schedule"] = f"{statistics['requested']}"
    if statistics.get("realised") is not None:
        found["realised λ̂"] = f"{statistics['realised']}"
    if statistics.get("relative_delta_norm") is not None:
        found["moved from the base, relative to its norm"] = f"{statistics['relative_delta_norm']}"
    return found | {
        "dtype": spec.out_dtype,
        "config and tokenizer from": spec.carried_parent,
        "job": f"`{job_id}`",
    }


def _warning(statistics: Mapping[str, Any]) -> str:
    # Tensor names in it are a stranger's words: they must stay words.
    plain = [re.sub(r"([\\`*\[\]<>|])", r"\\\1", text) for text in statistics.get("warnings", ())]
    return "".join(f"\n**Warning:** {text}.\n" for text in plain)


def _not_at_defaults(spec: MergeSpec) -> str:
    given: dict[str, Any] = spec.model_dump(mode="json", include=_TOLD_WHERE_GIVEN, exclude_defaults=True)
    if spec.skip:
        given["skip"] = list(spec.skip)
    if not given:
        return ""
    return f"\nNot at the defaults:\n\n    {json.dumps(given, ensure_ascii=False)}\n"
