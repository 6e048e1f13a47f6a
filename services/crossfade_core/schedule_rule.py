"""One rule of a schedule: which tensors have which share of λ."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from crossfade_core.strength import Strength

_RULE_SCHEMA: Final[list[JsonValue]] = [
    {"required": [one], "properties": {one: {"type": kind}, other: {"type": "null"}}}
    for one, kind, other in (("factor", "number", "gradient"), ("gradient", "array", "factor"))
]

Pattern = Annotated[str, Field(min_length=1, max_length=512)]
Factor = Strength


class ScheduleRule(BaseModel):
    """Tensors whose names match `pattern` have the strength factor·λ, or one along a gradient over layers."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"oneOf": _RULE_SCHEMA})

    pattern: Pattern = Field(
        description="Names with `*` and `?`. A last rule of `*` alone takes every tensor that no other rule matches."
    )
    factor: Factor | None = Field(default=None, description="Strength as a multiple of λ.")
    gradient: Annotated[tuple[Factor, ...], Field(min_length=2, max_length=256)] | None = Field(
        default=None, description="Factors spread evenly from the first layer to the last, linear in between."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.factor is None) == (self.gradient is None):
            raise ValueError(f"rule {self.pattern!r}: give either a factor or a gradient")
        return self

    @property
    def factors(self) -> tuple[float, ...]:
        """Every factor the rule states."""
        return self.gradient or (self.factor if self.factor is not None else 1.0,)
