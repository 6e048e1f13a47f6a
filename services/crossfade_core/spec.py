"""What a user asks for: the merge spec, its names, its canonical JSON and digest. Never looks at a checkpoint."""

import hashlib
import json
import math
import re
import string
import struct
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

OutDtype = Literal["auto", "bfloat16", "float16", "float32"]
Parent = Literal["instruct", "base"]

MAX_LAMBDAS = 64
MAX_LABELS = 32
NAME_FIELDS = ("base", "instruct", "lambda", "job")

_JOB_ID_CHARACTERS: Final = 36
"""Length to check names with before the job has its id: that of a UUID."""
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_MAX_NAME_CHARACTERS: Final = 240
"""Of a whole output name: a sink may need it as one component, with room to add to it (NAME_MAX is 255)."""
_SOURCE = re.compile(r"local://(?P<root>[A-Za-z0-9_][A-Za-z0-9._-]{0,63})/(?P<path>[^\x00\\]{1,1024})")


@dataclass(frozen=True)
class SourceRef:
    """A checkpoint by URI: `local://ROOT/PATH`, ROOT being a name from the server's configuration."""

    root: str
    path: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a source URI.

        Raises:
            ValueError: The scheme is not `local`, the root's name is malformed, or the path climbs (`..`), is
                absolute or has an empty component.
        """
        match = _SOURCE.fullmatch(uri)
        if match is None or not uri.isprintable():
            raise ValueError(f"{uri!r} is no source; write local://ROOT/PATH, ROOT being a root the server configures")
        path = match["path"].rstrip("/")
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError(f"{uri!r}: the path must be plain names joined by '/', without '.', '..' or empty parts")
        return cls(match["root"], path)

    @property
    def uri(self) -> str:
        """The URI this reference was read from, in canonical form."""
        return f"local://{self.root}/{self.path}"

    @property
    def name(self) -> str:
        """The last component: what the model is called in output names and model cards."""
        return self.path.rsplit("/", 1)[-1]


def _canonical_source(uri: str) -> str:
    return SourceRef.parse(uri).uri


def _plain_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("λ must be a number")
    return value


def _finite_strength(lam: float) -> float:
    if not math.isfinite(lam):
        raise ValueError("λ must be finite")
    if abs(lam) > 3.4028234663852886e38:
        raise ValueError("λ must be finite in float32, the precision the merge computes in")
    return lam + 0.0  # -0.0 becomes 0.0: one strength, one name


def as_float32(lam: float) -> float:
    """Return the float32 that torch.lerp rounds `lam` to (docs/numerics.md)."""
    rounded: float = struct.unpack("<f", struct.pack("<f", lam))[0]
    return rounded


def _lambda_text(lam: float) -> str:
    """The shortest text that reads back as `lam`, of characters an output name may hold: 1e20 rather than 1e+20."""
    return repr(lam).replace("e+", "e")


def check_output_name(name: str) -> str:
    """Return `name` if it is safe as a path below a destination.

    Raises:
        ValueError: A component is empty, begins with '.' or '-', or holds anything but letters, digits, '.', '_', '-'.
            Or there are more than four, or more than 240 characters in all.
    """
    parts = name.split("/")
    if len(parts) > 4 or len(name) > _MAX_NAME_CHARACTERS or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise ValueError(
            f"output name {name!r}: use at most four parts joined by '/', each of letters, digits, '.', '_' and '-', "
            f"beginning with a letter, digit or '_', {_MAX_NAME_CHARACTERS} characters in all"
        )
    return name


def _model_text(source: str) -> str:
    """The model's name of characters an output name may hold: `my model (v2)` becomes `my-model-v2`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", SourceRef.parse(source).name).strip("-").lstrip(".-") or "model"


def _check_template(template: str) -> str:
    try:
        fields = [(name, spec, conv) for _, name, spec, conv in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"output_name {template!r}: {error}") from error
    for name, spec, conversion in fields:
        if name not in NAME_FIELDS or spec or conversion:
            known = ", ".join(f"{{{field}}}" for field in NAME_FIELDS)
            raise ValueError(
                f"output_name {template!r}: a field must be one of {known}, as written here, nothing added"
            )
    check_output_name(template.format_map(dict.fromkeys(NAME_FIELDS, "x")))
    return template


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", key):
            raise ValueError(f"label {key!r}: 1 to 63 letters, digits, '.', '_', '-', '/'")
        if len(value) > 256 or not value.isprintable():
            raise ValueError(f"label {key!r}: the value must be at most 256 printable characters")
    return labels


SourceUri = Annotated[str, AfterValidator(_canonical_source)]
Strength = Annotated[float, BeforeValidator(_plain_number), AfterValidator(_finite_strength)]
DestinationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]


class MergeSpec(BaseModel):
    """One merge job as its user asked for it: two sources, the sweep, where the outputs go.

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
            ]
        },
    )

    base: SourceUri = Field(description="The pretrained checkpoint, `local://ROOT/PATH`.")
    instruct: SourceUri = Field(description="The checkpoint tuned from it, `local://ROOT/PATH`.")
    lambdas: Annotated[tuple[Strength, ...], Field(min_length=1, max_length=MAX_LAMBDAS)] = Field(
        description="The sweep: 1 to 64 finite, distinct strengths, one output each."
    )
    allow_extrapolation: bool = Field(default=False, description="Allow λ below 0 or above 1.")
    out_dtype: OutDtype = Field(default="auto", description="dtype of the outputs; `auto` is the base tensor's own.")
    destination: DestinationId = Field(description="Id of a destination the server configures.")
    output_name: Annotated[str, AfterValidator(_check_template)] = Field(
        default="{instruct}-pad-{lambda}",
        max_length=200,
        description="Template of each output's name below the destination; fields {base}, {instruct}, {lambda}, {job}.",
    )
    overwrite: bool = Field(default=False, description="Replace an output of the same name at the destination.")
    labels: Annotated[dict[str, str], Field(max_length=MAX_LABELS), AfterValidator(_check_labels)] = Field(
        default_factory=dict, description="Up to 32 labels of your own, kept with the job."
    )
    tokenizer_from: Parent = Field(
        default="instruct", description="The parent whose config, tokenizer and chat template the outputs carry."
    )

    @model_validator(mode="after")
    def _check_sweep(self) -> Self:
        seen: dict[float, float] = {}
        for lam in self.lambdas:
            if not self.allow_extrapolation and not 0 <= lam <= 1:
                raise ValueError(f"λ = {lam} lies outside 0..1; set allow_extrapolation to mean it")
            if (twin := seen.setdefault(as_float32(lam), lam)) != lam or list(self.lambdas).count(lam) > 1:
                raise ValueError(f"λ = {lam} and λ = {twin} are the same strength (equal in float32); list it once")
        names = self.output_names("x" * _JOB_ID_CHARACTERS)
        if len(set(names)) < len(names):
            raise ValueError(f"output_name {self.output_name!r} gives two λ the same name; use {{lambda}} in it")
        for name in names:
            check_output_name(name)
        return self

    def output_names(self, job_id: str) -> list[str]:
        """Return the name of each output, in the order of `lambdas`; what a name may not hold becomes '-'."""
        fixed = {"base": _model_text(self.base), "instruct": _model_text(self.instruct), "job": job_id}
        return [self.output_name.format_map({**fixed, "lambda": _lambda_text(lam)}) for lam in self.lambdas]


def canonical_json(value: object) -> bytes:
    """Encode JSON in one way only: keys sorted, no spaces, UTF-8, Python's shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def spec_digest(spec: MergeSpec) -> str:
    """Return `sha256:<hex>` over the canonical JSON of every field of the spec, defaults written out."""
    return "sha256:" + hashlib.sha256(canonical_json(spec.model_dump(mode="json"))).hexdigest()
