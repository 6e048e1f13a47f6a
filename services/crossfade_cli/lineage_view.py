"""Read `lineage.json` files that anybody may have written: checked from the first byte, a named error for any fault."""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from crossfade_core.errors import CheckpointError, NoCheckpoint, SourceNotFound, SourceUnavailable
from crossfade_core.lineage import LINEAGE_SCHEMA
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.untrusted_json import load_object, shown

MAX_LINEAGE_BYTES: Final = 200_000_000
"""Some 200 bytes for each tensor; the largest models have 20 000."""

_MOST_FOLDERS_DOWN: Final = 4
"""An output's name has at most four parts (`crossfade_core.spec.check_output_name`)."""

_Count = Annotated[int, Field(ge=0)]
_Counts = Annotated[list[_Count], Field(min_length=2, max_length=2)]


def _encodable(words: str) -> str:
    words.encode()  # a lone surrogate, which JSON can spell, is a ValueError here and not when it is printed
    return words


_Words = Annotated[str, AfterValidator(_encodable)]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False, populate_by_name=True)


class Figures(_View):
    """What λ did to an output or a tensor; see `crossfade_core.statistics.Figures`."""

    requested: float
    realised: float | None
    relative_delta_norm: float | None
    unchanged_share: float | None
    rounding_error: float | None
    base_non_finite: _Counts = [0, 0]
    instruct_non_finite: _Counts = [0, 0]
    overflowed: _Count = 0

    @property
    def stray(self) -> float | None:
        """How far the realised strength lies from the requested one; None where there is none."""
        return None if self.realised is None else abs(self.realised - self.requested)


class TensorFigures(Figures):
    """The figures of one tensor."""

    tensor: _Words


class StatisticsView(Figures):
    """The figures of an output, of its tensors, and what it warns of."""

    method: _Words
    warnings: list[_Words]
    tensors: list[TensorFigures]


class ExceptionView(_View):
    """A tensor that was not plainly interpolated."""

    tensor: _Words
    action: _Words
    reason: _Words


class PlanView(_View):
    """What is read of the plan."""

    exceptions: list[ExceptionView]


class JobOfOutput(_View):
    """The job that made an output."""

    id: _Words


class InputView(_View):
    """One source."""

    uri: _Words


class LineageView(_View):
    """What is read of one lineage record."""

    formula: _Words
    lam: float = Field(alias="lambda")
    job: JobOfOutput
    inputs: dict[_Words, InputView]
    plan: PlanView
    statistics: StatisticsView


def find_outputs(folder: Path) -> list[Path]:
    """Return the output that `folder` is, or every output below it, in the order of their paths.

    Raises:
        SourceNotFound: There is no such folder.
        NoCheckpoint: There is no lineage.json in it, nor in a folder at most four below.
    """
    if not folder.is_dir():
        raise SourceNotFound(f"{folder}: no such folder; give an output's folder or one that holds outputs")
    if (folder / LINEAGE_FILE).is_file():
        return [folder]
    found = []
    for parent, names, files in os.walk(folder):
        depth = len(Path(parent).relative_to(folder).parts)
        names[:] = sorted(name for name in names if not name.startswith(".")) if depth < _MOST_FOLDERS_DOWN else []
        if LINEAGE_FILE in files:
            found.append(Path(parent))
            names.clear()
    if not found:
        raise NoCheckpoint(f"{folder}: holds no output of crossfade: no {LINEAGE_FILE} in it nor below")
    return sorted(found)


def read_lineage(output: Path) -> LineageView:
    """Read the lineage record of an output.

    Raises:
        SourceUnavailable: The file cannot be read.
        CheckpointError: It is too large, no JSON, of another schema, or lacks what that schema holds.
    """
    file = output / LINEAGE_FILE
    document = load_object(_read(file), str(file), CheckpointError)
    schema = document.get("schema")
    if schema != LINEAGE_SCHEMA:
        is_ours = isinstance(schema, str) and schema.startswith("crossfade.lineage/")
        why = "another release of crossfade wrote it; merge again" if is_ours else "crossfade did not write it"
        raise CheckpointError(
            f"{file}: schema {LINEAGE_SCHEMA!r} expected, found {shown(schema)}: {why}", file=str(file)
        )
    try:
        return LineageView.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{file}: {shown(where)}: {first['msg']}; merge again", file=str(file)) from error


def _read(file: Path) -> bytes:
    try:
        if not file.is_file():  # a pipe would keep us waiting for ever
            raise CheckpointError(f"{file}: no plain file; merge again", file=str(file))
        with file.open("rb") as opened:
            content = opened.read(MAX_LINEAGE_BYTES + 1)
    except OSError as error:
        raise SourceUnavailable(f"{file}: cannot be read: {error.strerror}", file=str(file)) from error
    if len(content) > MAX_LINEAGE_BYTES:
        raise CheckpointError(f"{file}: over {MAX_LINEAGE_BYTES} bytes; this is no lineage record", file=str(file))
    return content
