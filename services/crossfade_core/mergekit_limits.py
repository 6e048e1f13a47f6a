"""Say what of a merge mergekit's configuration cannot express, line by line, each only where it is so. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crossfade_core.adapter import ADAPTER_CONFIG
from crossfade_core.lineage import Lineage, formula
from crossfade_core.mergekit_weights import MAX_TENSORS, Weight
from crossfade_core.name_patterns import NamePatterns
from crossfade_core.source_ref import LocalRef, S3Ref, parse_source
from crossfade_core.vocabulary import TOKENIZER_FILES
from crossfade_core.yaml_text import text

_NAMED: Final = 3


def is_adapter(lineage: Lineage) -> bool:
    """Whether the instruct side is an adapter: its config was read."""
    return ADAPTER_CONFIG in lineage.inputs.get("instruct", {})


def limits(lineage: Lineage, weights: tuple[Weight, ...] | None) -> list[str]:
    """Return the comments at the head of the file.

    Args:
        lineage: Of the output.
        weights: What stands in the file; None where the schedule does not.
    """
    left_out = [*_sources(lineage), *_numbers(lineage), *_tensors(lineage), *_other_files(lineage)]
    if weights is None:
        left_out.append(f"the schedule, and what is skipped: over {MAX_TENSORS} tensors of their own; all have λ here")
    return [
        f"{formula(lineage.spec)} with λ = {lineage.lam}, for mergekit 0.1.5: mergekit-yaml mergekit_config.yml FOLDER",
        "Computed in another order, so that some values differ, by rounding alone.",
        *(["What this file cannot say:"] if left_out else []),
        *(f"- {line}" for line in left_out),
    ]


def _sources(lineage: Lineage) -> Iterator[str]:
    for role, uri in lineage.sources.items():
        ref = parse_source(uri)
        if isinstance(ref, LocalRef):
            yield f"the {role} is {text(uri)}: run mergekit in the folder that the service calls {ref.root}"
        if isinstance(ref, S3Ref):
            yield f"the {role} is {text(uri)}: mergekit reads no S3; fetch it to the folder named here first"


def _numbers(lineage: Lineage) -> Iterator[str]:
    spec = lineage.spec
    if spec.rounding == "stochastic":
        yield f"stochastic rounding, seed {spec.seed}: mergekit rounds to nearest"
    dtypes: Mapping[str, int] = lineage.plan.get("out_dtypes", {})
    if len(dtypes) > 1:
        counts = ", ".join(f"{count} {dtype}" for dtype, count in dtypes.items())
        yield f"tensors of several dtypes ({counts}): mergekit writes all in one"
    if is_adapter(lineage):
        yield "mergekit merges the adapter first: give it --lora-merge-dtype float32 and --lora-merge-cache FOLDER"


def _tensors(lineage: Lineage) -> Iterator[str]:
    kinds: dict[str, list[str]] = {}
    skip = NamePatterns(lineage.spec.skip)
    for row in lineage.exceptions:
        if not skip.matching(row["tensor"]):  # those have weight 0
            kinds.setdefault(row["action"], []).append(row["tensor"])
    meanings: dict[str, str] = {
        "interpolate": "whose longer parent alone has some rows, which are copied; mergekit refuses unlike shapes",
        "copy_instruct": "copied from the instruct",
    }
    if not is_adapter(lineage):  # what an adapter does not touch differs from the base by nothing
        meanings["copy_base"] = "copied from the base"
        meanings["absorb"] = "read into other tensors (scales of fp8 codes, for one), and not written"
    for action, meaning in meanings.items():
        if action in kinds:
            yield f"{len(kinds[action])} tensor(s) {meaning}: {_some(kinds[action])}"
    policies: dict[str, Any] = lineage.spec.policies.model_dump(mode="json", exclude_defaults=True)
    for name, value in policies.items():
        yield f"policy {name}: {value}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(text, names[:_NAMED])) + more


def _has_own_tokenizer(lineage: Lineage) -> bool:
    """Whether the output carries a tokenizer other than the base's."""
    files = lineage.inputs.get("instruct", {})
    return lineage.spec.carried_parent == "instruct" and any(name in files for name in TOKENIZER_FILES)


def _other_files(lineage: Lineage) -> Iterator[str]:
    if lineage.config_changes:
        yield f"config.json differs from the parent's in {', '.join(map(text, lineage.config_changes))}"
    if lineage.spec.carried_parent == "instruct" and not is_adapter(lineage):
        yield "config.json is the instruct's; mergekit writes the base's"
    if _has_own_tokenizer(lineage):
        yield (
            "the tokenizer is the instruct's: copy its files (tokenizer_source would do so, but cut padded embeddings "
            "to the tokenizer's length)"
        )
