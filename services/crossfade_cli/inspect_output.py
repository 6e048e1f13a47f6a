"""`crossfade inspect`: what the λ of a sweep really did, from the outputs' own lineage records."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from crossfade_cli.lineage_view import find_outputs, read_lineage
from crossfade_cli.plan_table import count_exceptions, print_exceptions
from crossfade_cli.printing import plain, print_json
from crossfade_cli.tables import new_table, stdout_console
from crossfade_core.lineage_document import Figures, LineageDocument, TensorFigures

_NOTHING = "–"
_FIGURES = ("realised λ̂", "moved from base", "unchanged", "rounding error", "non-finite")


@dataclass(frozen=True)
class InspectedOutput:
    """One output, where it lies and what its record says."""

    path: Path
    lineage: LineageDocument

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name or str(self.path)

    @property
    def is_scheduled(self) -> bool:
        """Whether the strength asked for, as a mean over its tensors, is other than λ."""
        return _number(self.lineage.statistics.requested) != _number(self.lineage.lam)

    def most_stray(self, count: int) -> list[TensorFigures]:
        """Return the tensors whose strength strays most, the farthest first; those without one come last."""

        def rank(tensor: TensorFigures) -> tuple[float, str]:
            return (1.0 if tensor.stray is None else -tensor.stray, tensor.tensor)

        return sorted(self.lineage.statistics.tensors, key=rank)[:count]

    def as_json(self, tensor_count: int) -> dict[str, Any]:
        """Return what is shown, as JSON."""
        statistics = self.lineage.statistics
        return {
            "path": str(self.path),
            "lambda": self.lineage.lam,
            "job": self.lineage.job.id,
            "formula": self.lineage.formula,
            "sources": {role: side.uri for role, side in self.lineage.inputs.items()},
            "figures": statistics.model_dump(exclude={"warnings", "tensors"}),
            "warnings": statistics.warnings,
            "exceptions": [exception.model_dump() for exception in self.lineage.plan.exceptions],
            "tensors": [tensor.model_dump() for tensor in self.most_stray(tensor_count)],
        }


def inspect(folders: Sequence[Path], *, tensor_count: int, as_json: bool) -> None:
    """Print what every output in `folders` really is.

    Args:
        folders: Outputs, or folders that hold outputs.
        tensor_count: How many tensors of each output to list, those that stray most.
        as_json: Whether to print one JSON document and nothing else.

    Raises:
        SourceError: A folder is not there or cannot be read.
        CheckpointError: A lineage record is not what it should be, or there is none.
    """
    paths = dict.fromkeys(path for folder in folders for path in find_outputs(folder))
    outputs = sorted((InspectedOutput(path, read_lineage(path)) for path in paths), key=_place)
    if as_json:
        print_json({"outputs": [output.as_json(tensor_count) for output in outputs]})
        return
    console = stdout_console()
    for job, of_job in groupby(outputs, key=lambda output: output.lineage.job.id):
        if job != outputs[0].lineage.job.id:
            console.print()
        _print_sweep(list(of_job), console)
    for output in outputs if tensor_count else ():
        _print_tensors(output, tensor_count, console)
    _print_exceptions(outputs, console)


def _place(output: InspectedOutput) -> tuple[str, float, str]:
    """Sort the outputs of one job together, by λ."""
    return (output.lineage.job.id, output.lineage.lam, str(output.path))


def _print_sweep(outputs: Sequence[InspectedOutput], console: Console) -> None:
    first = outputs[0].lineage
    methods = {"exact": "every element", "sampled": "one block in sixteen"}
    # A chain's formula speaks of A and B.
    titles = {"instruct": "A", "reference": "B"} if "reference" in first.inputs else {}
    facts = {"job": first.job.id, **{titles.get(role, role): side.uri for role, side in first.inputs.items()}}
    facts |= {"formula": first.formula, "counted": methods.get(first.statistics.method, first.statistics.method)}
    for name, value in facts.items():
        console.print(_plain(f"{name + ':':11}{value}"))
    is_scheduled = any(output.is_scheduled for output in outputs)
    table = new_table("output", "λ", *(["mean"] if is_scheduled else []), *_FIGURES, "warnings")
    for output in outputs:
        statistics = output.lineage.statistics
        warned = str(len(statistics.warnings)) if statistics.warnings else ""
        mean = [_number(statistics.requested)] if is_scheduled else []
        table.add_row(_plain(output.name), repr(output.lineage.lam), *mean, *_cells(statistics), warned)
    console.print(table)
    for output in outputs:
        for warning in output.lineage.statistics.warnings:
            console.print(_plain(f"warning: {output.name}: {warning}"))


def _print_tensors(output: InspectedOutput, count: int, console: Console) -> None:
    tensors = output.most_stray(count)
    console.print()
    console.print(_plain(f"{output.name}: the {len(tensors)} tensors that stray most"))
    table = new_table("tensor", "requested", *_FIGURES)
    for tensor in tensors:
        table.add_row(_plain(tensor.tensor), _number(tensor.requested), *_cells(tensor))
    console.print(table)


def _print_exceptions(outputs: Sequence[InspectedOutput], console: Console) -> None:
    """List what was not plainly interpolated of a single output; of several, say how to see it."""
    count = max(len(output.lineage.plan.exceptions) for output in outputs)
    if not count:
        return
    console.print()
    if len(outputs) > 1:
        console.print(f"{count_exceptions(count)} in an output; inspect one to see which")
    else:
        print_exceptions([exception.model_dump() for exception in outputs[0].lineage.plan.exceptions], console)


def _cells(figures: Figures) -> tuple[str, ...]:
    share = figures.unchanged_share
    return (
        _number(figures.realised),
        _number(figures.relative_delta_norm),
        _NOTHING if share is None else f"{100 * share:.1f} %",
        _number(figures.rounding_error),
        _non_finite(figures),
    )


def _non_finite(figures: Figures) -> str:
    found = {
        "base": sum(figures.base_non_finite),
        "instruct": sum(figures.instruct_non_finite),
        "overflow": figures.overflowed,
    }
    return ", ".join(f"{name} {count}" for name, count in found.items() if count)


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4g}"


def _plain(words: str) -> Text:
    return Text(plain(words))
