"""The form of `lineage.json`, as models: what the API publishes as JSON Schema, and how anybody's file is read.

Versions: `crossfade.lineage/3`; the number rises when a reader of the one before would be misled. Members may be added
without that, so readers pass over what they do not know.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from crossfade_core.errors import CheckpointError
from crossfade_core.untrusted_json import load_object, shown

LINEAGE_VERSION: Final = 3
LINEAGE_SCHEMA: Final = f"crossfade.lineage/{LINEAGE_VERSION}"
MAX_LINEAGE_BYTES: Final = 64_000_000
"""The largest models have 90 000 tensors, of 280 bytes each with its figures and 450 with all counts: 25 to 40 MB. No
more than that needs, since to parse a stranger's takes memory of up to some 30 times its length."""


def _encodable(words: str) -> str:
    words.encode()  # a lone surrogate, which JSON can spell, is a ValueError here and not when it is printed
    return words


_Words = Annotated[str, AfterValidator(_encodable)]
_Count = Annotated[int, Field(ge=0)]
_Counts = Annotated[list[_Count], Field(min_length=2, max_length=2)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class FileRecord(_Record):
    """One file."""

    size_bytes: _Count
    sha256: Sha256


class LicenceRecord(_Record):
    """A licence as the model card of a source states it (https://huggingface.co/docs/hub/repositories-licenses)."""

    id: _Words
    name: _Words | None = None
    link: _Words | None = None


class SourceSignature(_Record):
    """What came of looking at the `model.sig` of a source."""

    state: Literal["verified", "unverified", "unsigned"] = Field(
        description="`verified`: signed by a key that this service trusts, and every file read is as it was signed."
    )
    key_id: _Words | None = Field(default=None, description="SHA-256 of the key's DER SubjectPublicKeyInfo.")
    reason: _Words | None = Field(default=None, description="Why it is not verified.")


class InputRecord(_Record):
    """One source."""

    uri: _Words = Field(description="Pinned where the registry has revisions: opened again it is the same.")
    files: dict[_Words, FileRecord] = Field(description="Every file of it that was read.")
    licence: LicenceRecord | None = None
    signature: SourceSignature | None = Field(default=None, description="None where signatures are not looked at.")


class OutputName(_Record):
    """Which output it is."""

    name: _Words = Field(description="Below its destination.")


class JobRecord(_Record):
    """The job that made the output."""

    id: _Words
    created_at: _Words = Field(description="When it was submitted, ISO 8601, UTC.")


class ExceptionRecord(_Record):
    """A tensor that was not plainly interpolated."""

    tensor: _Words
    action: _Words
    reason: _Words


class PlanRecord(_Record):
    """The plan, in numbers."""

    tensors: _Count | None = None
    actions: dict[_Words, _Count] = Field(default_factory=dict, description="How many tensors have which.")
    out_dtypes: dict[_Words, _Count] = Field(default_factory=dict, description="How many tensors have which.")
    exceptions: list[ExceptionRecord]
    config_changes: dict[_Words, Any] = Field(
        default_factory=dict, description="JSON pointers into config.json with what it says there, other than before."
    )


class Figures(_Record):
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


class StatisticsRecord(Figures):
    """The figures of an output, of its tensors, and what it warns of."""

    method: _Words
    warnings: list[_Words]
    tensors: list[TensorFigures]


class LineageDocument(_Record):
    """What a published checkpoint is made of, what was asked for, what was really done, and what came out."""

    model_config = ConfigDict(title=LINEAGE_SCHEMA)

    schema_: Literal["crossfade.lineage/3"] = Field(alias="schema")
    formula: _Words
    lam: float = Field(alias="lambda")
    output: OutputName
    job: JobRecord
    spec: dict[_Words, Any] = Field(description="What was asked for, as `POST /v1/merges` takes it; all of the sweep.")
    spec_digest: _Words
    inputs: dict[_Words, InputRecord] = Field(description="By role: `base`, `instruct`, `reference` (B of a chain).")
    plan: PlanRecord
    software: list[dict[_Words, _Words]] = Field(description="Versions that computed it, each distinct set once.")
    outputs: dict[_Words, FileRecord] = Field(
        description="Every file of the output but lineage.json itself and the two signed ones that are made after it."
    )
    statistics: StatisticsRecord


def parse_lineage(content: bytes, where: str) -> LineageDocument:
    """Read a lineage record that anybody may have written.

    Args:
        content: Of the file.
        where: What messages call it.

    Raises:
        CheckpointError: It is no JSON, of another schema, or lacks what that schema holds.
    """
    document = load_object(content, where, CheckpointError)
    schema = document.get("schema")
    if schema != LINEAGE_SCHEMA:
        is_ours = isinstance(schema, str) and schema.startswith("crossfade.lineage/")
        why = "another release of crossfade wrote it; merge again" if is_ours else "crossfade did not write it"
        raise CheckpointError(f"{where}: schema {LINEAGE_SCHEMA!r} expected, found {shown(schema)}: {why}", file=where)
    try:
        return LineageDocument.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{where}: {shown(place)}: {first['msg']}; merge again", file=where) from error


def lineage_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `lineage.json` (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **LineageDocument.model_json_schema(by_alias=True),
    }
