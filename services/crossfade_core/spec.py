"""What a user asks for: the merge spec and its digest. Never looks at a checkpoint."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic.config import JsonDict

from crossfade_core.canonical_json import json_digest
from crossfade_core.json_types import NOT_TEXT, UNSEEN, Flag, is_seen
from crossfade_core.output_name import TEMPLATE_SCHEMA, check_output_name, check_template, model_text
from crossfade_core.policies import Policies
from crossfade_core.schedule_rule import Pattern, ScheduleRule
from crossfade_core.source_ref import FORMS, SOURCE_PATTERN, parse_source
from crossfade_core.strength import LARGEST_F32, Strength, as_float32, lambda_text

OutDtype = Literal["auto", "bfloat16", "float16", "float32"]
Parent = Literal["instruct", "base"]
Rounding = Literal["nearest", "stochastic"]
Statistics = Literal["exact", "sampled"]
Role = Literal["base", "instruct", "reference"]
"""Which source: the base; the instruct (a model, an adapter, or A of a chain); B of a chain."""

ACCEPTED: Final = object()
"""Validation context for a spec that was checked when its job was accepted: the sweep is not checked once more."""

MAX_LAMBDAS = 64
MAX_LABELS = 32
MAX_RULES = 64
MAX_SKIPS = 64
MAX_DEADLINE_SECONDS = 90 * 24 * 3600

_NOT_DIGESTED: Final = {"priority", "deadline_seconds", "fresh"}
_JOB_ID_CHARACTERS: Final = 36
"""Length to check names with before the job has its id: that of a UUID."""
_LABEL_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._/-]{0,62}"
LABEL_VALUE: Final = f"[^{UNSEEN}]{{0,256}}"
_LABELS_SCHEMA: Final[JsonDict] = {
    "propertyNames": {"pattern": f"^{_LABEL_NAME}$"},
    "additionalProperties": {"type": "string", "pattern": f"^{LABEL_VALUE}$"},
}
_SOURCE_SCHEMA: Final[JsonDict] = {"pattern": SOURCE_PATTERN}
_SWEEP_SCHEMA: Final[list[JsonValue]] = [
    {
        "anyOf": [
            {"required": ["allow_extrapolation"], "properties": {"allow_extrapolation": {"const": True}}},
            {"properties": {"lambdas": {"items": {"minimum": 0, "maximum": 1}}}},
        ]
    },
    {
        "anyOf": [
            {"properties": {"lambdas": {"maxItems": 1}}},
            {"properties": {"output_name": {"pattern": r"\{lambda\}"}}},
        ]
    },
]
"""What of `MergeSpec`'s rules between fields JSON Schema can say; that two λ differ in float32 it cannot."""


def _canonical_source(uri: str, info: ValidationInfo) -> str:
    return uri if info.context is ACCEPTED else parse_source(uri).uri


def _check_labels(labels: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    if info.context is ACCEPTED:
        return labels
    for key, value in labels.items():
        if not re.fullmatch(_LABEL_NAME, key):
            raise ValueError(f"label {key!r}: 1 to 63 letters, digits, '.', '_', '-', '/'")
        if len(value) > 256 or not is_seen(value):
            raise ValueError(f"label {key!r}: the value must be at most 256 printable characters")
    return labels


SourceUri = Annotated[str, AfterValidator(_canonical_source), Field(json_schema_extra=_SOURCE_SCHEMA)]
DestinationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]


class DeltaOf(BaseModel):
    """An instruct side that is a difference: M = base + λ·(A − B), without the tensors that `skip` names.

    Source: Chat Vector, arXiv 2310.04799.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    delta_of: tuple[SourceUri, SourceUri] = Field(description="A, the tuned checkpoint, and B, the one it came from.")
    skip: Annotated[tuple[Pattern, ...], Field(max_length=MAX_SKIPS)] = Field(
        default=(), description="Tensors left as the base has them, by name with `*` and `?`: `*embed_tokens*`."
    )


def _kind_of_instruct(value: object) -> str | None:
    if isinstance(value, str):
        return "uri"
    return "chain" if isinstance(value, Mapping | DeltaOf) else None


def _canonical_instruct(side: "str | DeltaOf", info: ValidationInfo) -> "str | DeltaOf":
    return _canonical_source(side, info) if isinstance(side, str) else side


INSTRUCT_KINDS: Final = ("uri", "chain")
"""Tags that pydantic puts behind `instruct` in the place of an error; nobody wrote them."""

InstructSide = Annotated[
    Annotated[str, Tag("uri"), Field(json_schema_extra=_SOURCE_SCHEMA)] | Annotated[DeltaOf, Tag("chain")],
    Discriminator(
        _kind_of_instruct,
        custom_error_type="instruct_kind",
        custom_error_message=f"a source, {FORMS}, or {{delta_of: [A, B]}} expected",
    ),
    AfterValidator(_canonical_instruct),
]


class MergeSpec(BaseModel):
    """One merge job as its user asked for it: its sources, the sweep, where the outputs go.

    Formula: M(λ) = base + λ·(instruct − base), arXiv 2504.11626; λ > 1 is extrapolation, arXiv 2404.16792.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "base": "local://models/base",
                    "instruct": "local://models/instruct",
                    "lambdas": [0.0, 0.25, 0.5, 0.75, 1.0],
                    "destination": "outputs",
                }
            ],
            "allOf": _SWEEP_SCHEMA,
        },
    )

    base: SourceUri = Field(
        description="The pretrained checkpoint: `local://ROOT/PATH`, `s3://BUCKET/PREFIX` or `hf://ORG/NAME@REVISION`."
    )
    instruct: InstructSide = Field(
        description="The checkpoint tuned from it, or a PEFT adapter of it; or `{delta_of: [A, B]}`."
    )
    lambdas: Annotated[
        tuple[Strength, ...],
        Field(min_length=1, max_length=MAX_LAMBDAS, json_schema_extra={"uniqueItems": True}),
    ] = Field(description="The sweep: 1 to 64 finite, distinct strengths, one output each.")
    allow_extrapolation: Flag = Field(default=False, description="Allow λ below 0 or above 1.")
    out_dtype: OutDtype = Field(default="auto", description="dtype of the outputs; `auto` is the base tensor's own.")
    destination: DestinationId = Field(description="Id of a destination the server configures.")
    output_name: Annotated[str, AfterValidator(check_template)] = Field(
        default="{instruct}-pad-{lambda}",
        max_length=200,
        json_schema_extra=TEMPLATE_SCHEMA,
        description="Template of each output's name below the destination; fields {base}, {instruct}, {lambda}, {job}.",
    )
    overwrite: Flag = Field(default=False, description="Replace an output of the same name at the destination.")
    labels: Annotated[dict[str, str], Field(max_length=MAX_LABELS), AfterValidator(_check_labels)] = Field(
        default_factory=dict,
        json_schema_extra=_LABELS_SCHEMA,
        description="Up to 32 labels of your own, kept with the job.",
    )
    tokenizer_from: Parent | None = Field(
        default=None,
        description="The parent whose config, tokenizer and chat template the outputs carry: the instruct "
        "unless given, the base for `delta_of`.",
    )
    schedule: Annotated[tuple[ScheduleRule, ...], Field(max_length=MAX_RULES)] = Field(
        default=(), description="Strengths by tensor; every tensor is matched by exactly one rule. Empty: λ for all."
    )
    policies: Policies = Field(
        default_factory=Policies, description="What becomes of what does not simply interpolate."
    )
    rounding: Rounding = Field(
        default="nearest",
        description="`stochastic` rounds up or down by chance, so that small steps survive on average; "
        "a pure function of seed, tensor and element.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63), NOT_TEXT] = Field(default=0, description="Of stochastic rounding.")
    statistics: Statistics = Field(
        default="exact", description="What each λ really did: over every element, or over one block in sixteen."
    )

    priority: Annotated[int, Field(ge=-100, le=100), NOT_TEXT] = Field(
        default=0,
        description="Units of a job of higher priority are begun first; jobs of the same priority share the workers.",
    )
    deadline_seconds: Annotated[float, Field(gt=0, le=MAX_DEADLINE_SECONDS), NOT_TEXT] | None = Field(
        default=None,
        description="A job that has not ended so long after it was submitted fails; what it has published stays.",
    )
    fresh: Flag = Field(
        default=False, description="Make it again, also where the same job is under way or its outputs stand."
    )

    @model_validator(mode="after")
    def _check_sweep(self, info: ValidationInfo) -> Self:
        if info.context is ACCEPTED:
            return self
        seen: dict[float, float] = {}
        for lam in self.lambdas:
            if any(abs(lam * factor) > LARGEST_F32 for rule in self.schedule for factor in rule.factors):
                raise ValueError(f"λ = {lam} times a factor of the schedule is too large for float32")
            for factor in {1.0, *(factor for rule in self.schedule for factor in rule.factors)}:
                if not self.allow_extrapolation and not 0 <= lam * factor <= 1:
                    found = f"λ = {lam}" if factor == 1 else f"λ·factor = {lam}·{factor}"
                    raise ValueError(f"{found} lies outside 0..1; set allow_extrapolation to mean it")
            if (twin := seen.setdefault(as_float32(lam), lam)) != lam or list(self.lambdas).count(lam) > 1:
                raise ValueError(f"λ = {lam} and λ = {twin} are the same strength (equal in float32); list it once")
        names = self.output_names("x" * _JOB_ID_CHARACTERS)
        if len(set(names)) < len(names):
            raise ValueError(f"output_name {self.output_name!r} gives two λ the same name; use {{lambda}} in it")
        for name in names:
            check_output_name(name)
        return self

    @property
    def sources(self) -> dict[Role, str]:
        """The URI of every source by its role; a chain's `reference` is its B."""
        if isinstance(self.instruct, str):
            return {"base": self.base, "instruct": self.instruct}
        return {"base": self.base, "instruct": self.instruct.delta_of[0], "reference": self.instruct.delta_of[1]}

    @property
    def is_made_once(self) -> bool:
        """Whether the same spec again means the same job: not where it asks for a fresh one, or names differ by job."""
        return not self.fresh and "{job}" not in self.output_name

    @property
    def skip(self) -> tuple[str, ...]:
        """Patterns of the tensors a chain leaves alone."""
        return () if isinstance(self.instruct, str) else self.instruct.skip

    @property
    def carried_parent(self) -> Parent:
        """The parent whose config and tokenizer the outputs carry."""
        return self.tokenizer_from or ("instruct" if isinstance(self.instruct, str) else "base")

    def output_names(self, job_id: str) -> list[str]:
        """Return the name of each output, in the order of `lambdas`; what a name may not hold becomes '-'."""
        instruct = model_text(self.sources["instruct"])
        fixed = {"base": model_text(self.base), "instruct": instruct, "job": job_id}
        return [self.output_name.format_map({**fixed, "lambda": lambda_text(lam)}) for lam in self.lambdas]


def body_digest(spec: MergeSpec) -> str:
    """Return `sha256:<hex>` over the canonical JSON of the whole spec, defaults written out: of what was asked for."""
    return json_digest(spec.model_dump(mode="json"))


def spec_digest(spec: MergeSpec) -> str:
    """Return `sha256:<hex>` over the canonical JSON of the spec, defaults written out.

    Of every field but `priority`, `deadline_seconds` and `fresh`, which change nothing of what is made.
    """
    return json_digest(spec.model_dump(mode="json", exclude=_NOT_DIGESTED))
