"""What every merge owes its parents: a row with a reason for each tensor, and their config as they wrote it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from crossfade_core.plan import MergePlan
from tests.architectures.pairs import read_state


def assert_every_key_has_one_row(plan: MergePlan, *parents: Path) -> None:
    """See that each tensor of either parent stands in the plan exactly once, and that the plan says why."""
    rows = [*plan.rows, *plan.absorbed, *plan.refusals]
    expected = {name for folder in parents for name in read_state(folder)}
    assert Counter(row.name for row in rows) == Counter(expected)
    assert [row.name for row in rows if not row.reason] == []


def exact_items(file: Path) -> list[tuple[str, Any]]:
    """Return the items of a JSON object in their order, numbers as the text they are written as."""
    items: list[tuple[str, Any]] = json.loads(
        file.read_bytes(), parse_int=str, parse_float=str, object_pairs_hook=lambda pairs: pairs
    )
    return items
