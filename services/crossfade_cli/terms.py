"""The options that say how tensors are merged: chain, schedule, policies, rounding, statistics; and their reading."""

import json
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from crossfade_cli.options import read_pairs

POLICIES: Final = {
    "one_sided": ("refuse", "copy"),
    "other_shape": ("refuse", "base", "instruct"),
    "extra_rows": ("refuse", "copy"),
    "tokens": ("refuse", "ignore"),
    "integers": ("equal", "base", "instruct"),
    "non_finite": ("refuse", "keep"),
    "overflow": ("refuse", "keep"),
}
"""`crossfade_core.spec.Policies`, the default first; importing the spec would cost every start a tenth of a second."""

_MOST_SCHEDULE_BYTES: Final = 1_000_000


class Rounding(StrEnum):
    """`crossfade_core.spec.Rounding`."""

    NEAREST = "nearest"
    STOCHASTIC = "stochastic"


class Statistics(StrEnum):
    """`crossfade_core.spec.Statistics`."""

    EXACT = "exact"
    SAMPLED = "sampled"


MINUS_HELP: Final = "Add INSTRUCT − REFERENCE to BASE, instead of INSTRUCT − BASE."
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="PATTERN", help="With --minus: tensors left as BASE has them, such as '*embed*'."),
]
Schedule = Annotated[
    Path | None,
    typer.Option("--schedule", metavar="FILE", help="JSON: a list of {pattern, factor} or {pattern, gradient}."),
]
Rule = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="PATTERN=FACTOR",
        help="Strength factor·λ for tensors by name; F0,F1,… is a gradient over the layers. "
        "A last '*=1' takes the rest.",
    ),
]
Policy = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME=VALUE",
        help="What becomes of what does not simply interpolate. "
        + "; ".join(f"{name}: {', '.join(values)}" for name, values in POLICIES.items())
        + ". The first is the default.",
    ),
]
RoundingOption = Annotated[
    Rounding | None,
    typer.Option("--rounding", help="stochastic lets small steps survive on average. [default: nearest]"),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="Of stochastic rounding. [default: 0]")]
StatisticsOption = Annotated[
    Statistics | None,
    typer.Option("--statistics", help="Over every element, or one block in sixteen. [default: exact]"),
]


def read_terms(
    *,
    schedule: Path | None,
    rules: Sequence[str] | None,
    policies: Sequence[str] | None,
    rounding: Rounding | None,
    seed: int | None,
    statistics: Statistics | None,
) -> dict[str, Any]:
    """Return the fields of a merge spec that these options give; None or empty where nothing is given.

    Raises:
        typer.BadParameter: An option cannot be read, or a schedule is given in both ways.
    """
    if schedule is not None and rules:
        raise typer.BadParameter("give the schedule as a file or by --rule, not both", param_hint="--schedule")
    return {
        "schedule": _schedule_of_file(schedule) if schedule else [_rule(text) for text in rules or ()],
        "policies": _policies(policies or ()),
        "rounding": rounding and rounding.value,
        "seed": seed,
        "statistics": statistics and statistics.value,
    }


def read_skip(minus: object, skip: Sequence[str] | None) -> list[str]:
    """Return the patterns to skip.

    Raises:
        typer.BadParameter: There is nothing to skip them from.
    """
    if skip and not minus:
        raise typer.BadParameter("needs --minus: without a REFERENCE there is no delta to skip", param_hint="--skip")
    return list(skip or ())


def _schedule_of_file(file: Path) -> list[Any]:
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MOST_SCHEDULE_BYTES + 1)
        rules = json.loads(raw, parse_constant=_no_constant) if len(raw) <= _MOST_SCHEDULE_BYTES else None
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--schedule") from error
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{file}: cannot be read as JSON: {error}", param_hint="--schedule") from error
    if not isinstance(rules, list) or not rules:
        raise typer.BadParameter(f"{file}: a JSON list of rules expected, 1 MB at most", param_hint="--schedule")
    return rules


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _rule(text: str) -> dict[str, Any]:
    pattern, equals, values = text.rpartition("=")
    if not (pattern and equals):
        raise typer.BadParameter(f"{text!r} is not of the form PATTERN=FACTOR", param_hint="--rule")
    try:
        factors = [float(value) for value in values.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {values!r} is no number, nor several", param_hint="--rule") from error
    if not all(map(math.isfinite, factors)):
        raise typer.BadParameter(f"{text!r}: a factor is not finite", param_hint="--rule")
    return (
        {"pattern": pattern, "factor": factors[0]} if len(factors) == 1 else {"pattern": pattern, "gradient": factors}
    )


def _policies(texts: Sequence[str]) -> dict[str, str]:
    policies = read_pairs(texts, "--policy")
    for name, value in policies.items():
        if name not in POLICIES:
            raise typer.BadParameter(f"{name!r} is none; there are {', '.join(POLICIES)}", param_hint="--policy")
        if value not in POLICIES[name]:
            known = ", ".join(POLICIES[name])
            raise typer.BadParameter(f"{name} cannot be {value!r}, but one of {known}", param_hint="--policy")
    return policies
