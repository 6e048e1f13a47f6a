"""Which strength each tensor has: exactly one rule of the schedule for every tensor. Pure; never sees a λ."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from crossfade_core.errors import ScheduleRefused
from crossfade_core.name_patterns import NamePatterns
from crossfade_core.schedule_rule import ScheduleRule

_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d{1,6})(?:\.|$)")
_REST: Final = "*"


def match_rules(names: Iterable[str], schedule: Sequence[ScheduleRule]) -> dict[str, int]:
    """Return for each tensor the position of the one rule that decides it.

    A last rule of `*` alone takes what the others leave.

    Raises:
        ScheduleRefused: A tensor matches no rule or two, or a rule no tensor.
    """
    has_rest = schedule[-1].pattern == _REST
    stated = schedule[: -1 if has_rest else None]
    patterns = NamePatterns([rule.pattern for rule in stated])
    rules = {name: _match(name, patterns, schedule, has_rest=has_rest) for name in names}
    number = min(set(range(len(stated))) - set(rules.values()), default=None)
    if number is not None:
        raise ScheduleRefused(
            f"schedule: rule {number + 1} ({schedule[number].pattern!r}) matches no tensor; correct the pattern or "
            "remove the rule",
            rule=number + 1,
        )
    return rules


def factors(rules: Mapping[str, int], schedule: Sequence[ScheduleRule]) -> dict[str, float]:
    """Return each tensor's strength as a multiple of λ.

    Args:
        rules: What `match_rules` returned.
        schedule: The rules.

    Raises:
        ScheduleRefused: A tensor under a gradient has no layer number.
    """
    layers: dict[int, list[int]] = {}
    for name, number in rules.items():
        if schedule[number].gradient is not None:
            layers.setdefault(number, []).append(_layer(name, schedule[number]))
    spans = {number: (min(found), max(found)) for number, found in layers.items()}
    return {name: _factor(name, schedule[number], spans.get(number, (0, 0))) for name, number in rules.items()}


def _match(name: str, patterns: NamePatterns, schedule: Sequence[ScheduleRule], *, has_rest: bool) -> int:
    found = patterns.matching(name)
    if len(found) > 1:
        first, second = (schedule[number].pattern for number in found[:2])
        raise ScheduleRefused(
            f"schedule: tensor {name!r} matches both rule {found[0] + 1} ({first!r}) and rule {found[1] + 1} "
            f"({second!r}); make the patterns disjoint",
            tensor=name,
        )
    if found:
        return found[0]
    if has_rest:
        return len(schedule) - 1
    raise ScheduleRefused(
        f"schedule: no rule matches tensor {name!r}; add a last rule with the pattern '*' for the rest", tensor=name
    )


def _layer(name: str, rule: ScheduleRule) -> int:
    match = _LAYER.search(name)
    if match is None:
        raise ScheduleRefused(
            f"schedule: tensor {name!r} has no layer number, which the gradient of rule {rule.pattern!r} needs; "
            "give it a rule with a factor",
            tensor=name,
        )
    return int(match[1])


def _factor(name: str, rule: ScheduleRule, span: tuple[int, int]) -> float:
    if rule.gradient is None:
        return rule.factors[0]
    first, last = span
    if last == first:
        return rule.gradient[0]
    position = (_layer(name, rule) - first) * (len(rule.gradient) - 1) / (last - first)
    below = min(int(position), len(rule.gradient) - 2)
    low, high = rule.gradient[below], rule.gradient[below + 1]
    part = position - below
    return high if part == 1 else low + (high - low) * part  # the last layer's factor is the one stated, to the bit
