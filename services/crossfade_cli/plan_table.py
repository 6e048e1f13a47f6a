"""A plan as `crossfade merge --dry-run` shows it: its numbers, and every tensor that is not plainly interpolated."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from crossfade_cli.printing import plain
from crossfade_cli.tables import new_table, stdout_console


def print_plan(
    summary: Mapping[str, Any],
    exceptions: Sequence[Mapping[str, str]],
    console: Console | None = None,
    *,
    exception_count: int | None = None,
) -> None:
    """Print a plan.

    Args:
        summary: `MergePlan.summary()`.
        exceptions: `MergePlan.exceptions()`, or the first of them.
        console: Where to; stdout unless given.
        exception_count: How many there are where `exceptions` are not all.
    """
    console = console or stdout_console()
    facts = {
        "tensors": _counted(summary["actions"]),
        "dtypes": _counted(summary["out_dtypes"]),
        "files": f"{len(summary['shards'])} for each λ",
        "reads": f"{decimal(summary['read_bytes'])}, once for all λ",
        "writes": f"{decimal(summary['write_bytes_per_output'])} for each λ",
    }
    for name, value in facts.items():
        console.print(Text(f"{name + ':':10}{value}"))
    for note in summary.get("notes", ()):
        console.print(Text(plain(f"note:     {note}")))
    if exceptions:
        console.print()
        print_exceptions(exceptions, console, exception_count)
    else:
        console.print("every tensor is plainly interpolated")


def print_exceptions(
    exceptions: Sequence[Mapping[str, str]], console: Console, exception_count: int | None = None
) -> None:
    """Print {tensor, action, reason} of every tensor that is not plainly interpolated, or of the first of so many."""
    count = len(exceptions) if exception_count is None else exception_count
    console.print(count_exceptions(count) + (f"; the first {len(exceptions)}:" if count > len(exceptions) else ""))
    table = new_table("tensor", "action", "reason")
    for exception in exceptions:
        table.add_row(*(Text(plain(exception[key]), overflow="fold") for key in ("tensor", "action", "reason")))
    console.print(table)


def count_exceptions(count: int) -> str:
    """Return the sentence that says how many tensors are not plainly interpolated."""
    return f"{count} {'tensor is' if count == 1 else 'tensors are'} not plainly interpolated"


def print_refusals(refusals: Sequence[Mapping[str, str]], console: Console | None = None) -> None:
    """Print {tensor, reason} of the tensors that keep a plan from being used."""
    table = new_table("tensor", "why it is refused")
    for refusal in refusals:
        table.add_row(*(Text(plain(refusal[key]), overflow="fold") for key in ("tensor", "reason")))
    (console or stdout_console()).print(table)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
