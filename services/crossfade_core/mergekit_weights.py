"""Say a schedule, and what a chain skips, as weights of tensors in mergekit's words. Pure.

mergekit takes the first setting whose filter stands somewhere in a tensor's name, so `*attn*` is the filter `attn`; any
other pattern, and a gradient, is written out tensor by tensor, the longest names first, as one may hold another.
Source: mergekit 0.1.5, `config.py`, `evaluate_setting`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crossfade_core.lineage import Lineage
from crossfade_core.name_patterns import NamePatterns
from crossfade_core.schedule import factors, match_rules
from crossfade_core.spec import MergeSpec

MAX_TENSORS: Final = 2000
"""Written out at most: mergekit looks through all of them for every tensor."""

_WITHIN: Final = re.compile(r"\*([^*?]+)\*")
_REST: Final = "*"


@dataclass(frozen=True)
class Weight:
    """The strength of tensors in whose names `filter` stands; of all that are left where it is None."""

    strength: float
    filter: str | None = None


def weights(lineage: Lineage) -> tuple[Weight, ...] | None:
    """Return the strength of every tensor, first match first; None where that would take too many lines."""
    spec, lam = lineage.spec, lineage.lam
    if not spec.schedule and not spec.skip:
        return (Weight(lam),)
    by_pattern = _by_pattern(spec, lam)
    return by_pattern if by_pattern is not None else _by_tensor(lineage)


def _by_pattern(spec: MergeSpec, lam: float) -> tuple[Weight, ...] | None:
    found = [(pattern, 0.0) for pattern in spec.skip]
    for rule in spec.schedule:
        if rule.factor is None:
            return None
        found.append((rule.pattern, lam * rule.factor))
    # Left over is what no rule decides: all of it without a schedule, nothing with one.
    filters = [(_filter(pattern), strength) for pattern, strength in [*found, (_REST, lam)]]
    if any(words == "" for words, _ in filters):
        return None
    return tuple(Weight(strength, words) for words, strength in filters[: _first_rest(filters) + 1])


def _filter(pattern: str) -> str | None:
    """Return mergekit's filter: None for the rest, the empty text where there is no such filter."""
    if pattern == _REST:
        return None
    within = _WITHIN.fullmatch(pattern)
    return within[1] if within else ""


def _first_rest(filters: list[tuple[str | None, float]]) -> int:
    return next(number for number, (words, _) in enumerate(filters) if words is None)


def _by_tensor(lineage: Lineage) -> tuple[Weight, ...] | None:
    names = [tensor["tensor"] for tensor in lineage.statistics.get("tensors", ())]
    names += [row["tensor"] for row in lineage.exceptions if row["action"] != "absorb"]
    strengths = _strengths(lineage, sorted(set(names), key=lambda name: (-len(name), name)))
    if len(strengths) > MAX_TENSORS:
        return None
    return (*(Weight(strength, name) for name, strength in strengths.items()), Weight(lineage.lam))


def _strengths(lineage: Lineage, names: list[str]) -> Mapping[str, float]:
    schedule, skip = lineage.spec.schedule, NamePatterns(lineage.spec.skip)
    by_name = factors(match_rules(names, schedule), schedule) if schedule else dict.fromkeys(names, 1.0)
    return {name: 0.0 if skip.matching(name) else lineage.lam * by_name[name] for name in names}
