"""The model card: what people read first of a published checkpoint, and the front matter the Hub reads. Pure.

Everything in it is in `lineage.json` too, but for the other outputs of the sweep; it holds no time of its own making.

Front matter names every source as `base_model`: by its id where it is a repository of the Hub, else by the name of its
folder, in the characters of an id, since the Hub refuses a card with anything else. The licence is that of
`crossfade_core.licence`. Source: https://huggingface.co/docs/hub/model-cards
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossfade_core.card_sections import files_section, rebuild_section, verify_section
from crossfade_core.card_words import code, plain, table
from crossfade_core.licence import SEE_SOURCES, UNKNOWN, output_licence, stated_licence
from crossfade_core.lineage import Lineage, formula
from crossfade_core.output_name import model_text
from crossfade_core.own_files import PLOT_FILE
from crossfade_core.source_ref import HubRef, parse_source
from crossfade_core.spec import MergeSpec, Role
from crossfade_core.sweep_plot import SweepPoint

_TOLD_WHERE_GIVEN: Final = {"schedule", "rounding", "seed", "policies"}
"""Fields of the spec that change the numbers; the card shows those that are not at their default."""


@dataclass(frozen=True)
class CardFacts:
    """What the card tells that is not in the lineage record.

    Attributes:
        sweep: Every output of the job.
        key_id: SHA-256 of the key that signs the output, as the signature names it; None where nothing is signed.
    """

    sweep: Sequence[SweepPoint]
    key_id: str | None = None


def model_card(lineage: Lineage, facts: CardFacts) -> bytes:
    """Return `README.md`: front matter, the formula in words, where it comes from, what this λ really did.

    Args:
        lineage: Of this output; its `outputs` are those that are written before the card.
        facts: The rest.
    """
    sections = [
        f"# {_subject(lineage.spec)} at λ = {lineage.lam}",
        "A *partial adaptation* made by crossfade: every floating-point tensor is",
        f"    {formula(lineage.spec)}    with λ = {lineage.lam}",
        _reading(lineage.spec),
        *(f"**Warning:** {plain(text)}." for text in lineage.statistics.get("warnings", ())),
        table(("", ""), [(name, value) for name, value in _rows(lineage).items()]),
        _not_at_defaults(lineage.spec),
        _sweep(lineage, facts.sweep),
        _inputs(lineage),
        verify_section(facts.key_id),
        rebuild_section(lineage.sources.values()),
        files_section(lineage.outputs, is_signed=facts.key_id is not None),
    ]
    return ("\n\n".join([_front_matter(lineage), *filter(None, sections)]) + "\n").encode()


def _front_matter(lineage: Lineage) -> str:
    """Return the YAML; texts in it are JSON strings, which YAML reads as they stand."""
    ids = dict.fromkeys(map(_model_id, lineage.sources.values()))
    licence = output_licence(lineage.sources, lineage.licences)
    is_chain = "reference" in lineage.sources
    lines = [
        *("base_model:", *(f"- {json.dumps(name)}" for name in ids), "base_model_relation: merge"),
        "library_name: transformers",
        f"license: {licence.id}",
        *([f"license_name: {json.dumps(licence.name)}"] if licence.name else []),
        *([f"license_link: {json.dumps(licence.link)}"] if licence.link else []),
        *("tags:", "- merge", "- crossfade", "- chat-vector" if is_chain else "- partial-adaptation"),
    ]
    return "\n".join(["---", *lines, "---"])


def _model_id(uri: str) -> str:
    ref = parse_source(uri)
    return ref.repo if isinstance(ref, HubRef) else model_text(uri).lstrip("_") or "model"


def _subject(spec: MergeSpec) -> str:
    names = {role: plain(parse_source(uri).title) for role, uri in spec.sources.items()}
    if "reference" in names:
        return f"{names['base']} + ({names['instruct']} − {names['reference']})"
    return names["instruct"]


def _reading(spec: MergeSpec) -> str:
    if isinstance(spec.instruct, str):
        return f"λ = 0 is the base, λ = 1 the instruct model. The method: {_arxiv('2504.11626')}."
    return f"λ = 0 is the base, λ = 1 adds the whole difference of A and B. The method: {_arxiv('2310.04799')}."


def _arxiv(number: str) -> str:
    return f"[arXiv {number}](https://arxiv.org/abs/{number})"


def _rows(lineage: Lineage) -> dict[str, str]:
    spec, told = lineage.spec, lineage.statistics
    found = {"λ": f"{lineage.lam}"}
    if spec.schedule and "requested" in told:
        found["mean strength by the schedule"] = f"{told['requested']}"
    if told.get("realised") is not None:
        found["realised λ̂"] = f"{told['realised']}"
    if told.get("relative_delta_norm") is not None:
        found["moved from the base, relative to its norm"] = f"{told['relative_delta_norm']}"
    return found | {
        "dtype": spec.out_dtype,
        "config and tokenizer from": spec.carried_parent,
        "job": f"`{lineage.job_id}`",
    }


def _not_at_defaults(spec: MergeSpec) -> str:
    given: dict[str, Any] = spec.model_dump(mode="json", include=_TOLD_WHERE_GIVEN, exclude_defaults=True)
    if spec.skip:
        given["skip"] = list(spec.skip)
    return f"Not at the defaults:\n\n    {json.dumps(given, ensure_ascii=False)}" if given else ""


def _sweep(lineage: Lineage, sweep: Sequence[SweepPoint]) -> str:
    rows = [_sweep_row(point, is_this=point[0] == lineage.lam) for point in sweep]
    plot = f"![The realised strength of each λ of the sweep]({PLOT_FILE})"
    meaning = (
        "λ̂ is the strength that is left after rounding to the output's dtype, ⟨M − base, Δ⟩ / ⟨Δ, Δ⟩ for the full "
        "step Δ; moved is ‖M − base‖ / ‖base‖."
    )
    return f"## The sweep\n\n{plot}\n\n{table(('λ', 'realised λ̂', 'moved'), rows)}\n\n{meaning}"


def _sweep_row(point: SweepPoint, *, is_this: bool) -> tuple[str, ...]:
    cells = tuple("–" if figure is None else f"{figure}" for figure in point)
    return tuple(f"**{cell}**" for cell in cells) if is_this else cells


def _inputs(lineage: Lineage) -> str:
    titles: dict[Role, str] = {"base": "base", "instruct": "instruct"}
    if "reference" in lineage.sources:
        titles = {"base": "base", "instruct": "A", "reference": "B"}
    rows = [(titles[role], code(uri), _stated(lineage, role)) for role, uri in lineage.sources.items()]
    return f"## Inputs\n\n{table(('', 'source', 'licence its card states'), rows)}\n\n{_licence_words(lineage)}"


def _stated(lineage: Lineage, role: Role) -> str:
    licence = stated_licence(lineage.licences, role)
    if licence is None:
        return "none"
    link = licence.link or ""
    return plain(licence.words) + (f" ({code(link)})" if re.match(r"https?://", link) else "")


def _licence_words(lineage: Lineage) -> str:
    licence = output_licence(lineage.sources, lineage.licences)
    if licence == UNKNOWN:
        return "No source states a licence, so this card states none: `license: unknown`."
    if licence == SEE_SOURCES:
        return (
            "The sources do not all state the same licence, so this card states none of its own "
            "(`license_name: see-sources`): the terms of every source hold."
        )
    return "All sources state the same licence, and this card repeats it."
