"""The parents of a merge as their headers and small files describe them: two models, an adapter, or a chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossfade_core.adapter import Adapter
from crossfade_core.checkpoint import CheckpointLayout
from crossfade_core.quantisation import Values
from crossfade_core.spec import Role


@dataclass(frozen=True)
class Checkpoint:
    """A parent as its headers and small files describe it.

    Attributes:
        layout: Its files and tensors.
        values: The tensors with their scales folded in.
        config: Its config.json; None where it has none.
        vocabulary: Which token each id means; None where no tokenizer tells.
    """

    layout: CheckpointLayout
    values: Values
    config: Mapping[str, Any] | None = None
    vocabulary: Mapping[int, str] | None = None


@dataclass(frozen=True)
class Chain:
    """An instruct side that is the difference of two checkpoints."""

    tuned: Checkpoint
    origin: Checkpoint


@dataclass(frozen=True)
class AdapterSide:
    """An instruct side that is an adapter over the base.

    Attributes:
        adapter: What it makes of the base.
        layout: Its file and tensors.
        vocabulary: Which token each id means by its own tokenizer; None where it brings none: then the base's.
    """

    adapter: Adapter
    layout: CheckpointLayout
    vocabulary: Mapping[int, str] | None = None


Tuned = Checkpoint | Chain | AdapterSide
"""What may stand on the instruct side."""


def checkpoints_of(base: Checkpoint, tuned: Tuned) -> dict[Role, Checkpoint]:
    """Return every whole checkpoint among the parents, by role."""
    if isinstance(tuned, Chain):
        return {"base": base, "instruct": tuned.tuned, "reference": tuned.origin}
    return {"base": base, "instruct": tuned} if isinstance(tuned, Checkpoint) else {"base": base}


def layouts_of(base: Checkpoint, tuned: Tuned) -> dict[Role, CheckpointLayout]:
    """Return the files and tensors of every parent, by role."""
    layouts: dict[Role, CheckpointLayout] = {role: found.layout for role, found in checkpoints_of(base, tuned).items()}
    return layouts | {"instruct": tuned.layout} if isinstance(tuned, AdapterSide) else layouts
