"""The words of a plan: one row per tensor of the union of all parents, output shards, byte ranges and cost.

A plan is a value: it can be printed, priced, stored and tested. It never holds a tensor's bytes; how rows come about is
`crossfade_core.planning`.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from crossfade_core.checkpoint import DTYPE_BITS, LENGTH_BYTES
from crossfade_core.errors import PlanRefused
from crossfade_core.spec import Role

MERGEABLE: Final = frozenset({"BF16", "F16", "F32", "F64"})
_NAMED_REFUSALS: Final = 20

ROLES: Final[tuple[Role, ...]] = ("base", "instruct", "reference")


class Action(StrEnum):
    """What happens to a tensor."""

    INTERPOLATE = "interpolate"
    COPY_BASE = "copy_base"
    COPY_INSTRUCT = "copy_instruct"
    COPY_EQUAL = "copy_equal"
    ABSORB = "absorb"
    """Not written: its values go into another tensor (scales of codes, factors of an adapter), or nothing reads it."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Scales:
    """Scales of an fp8 tensor, row-major: one for each block of `block` rows and columns of its last two dimensions.

    `shape` is the blocks' own: every leading dimension of the tensor, then the counts of blocks down and across.
    """

    file: str
    dtype: str
    start: int
    end: int
    shape: tuple[int, ...]
    block: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Where a tensor's bytes lie in a parent: absolute offsets in `file`, end exclusive.

    With `scales` the bytes are codes: a value is bfloat16(code · scale).
    """

    file: str
    dtype: str
    start: int
    end: int
    scales: Scales | None = None

    @property
    def value_dtype(self) -> str:
        """The dtype of the values: BF16 where the bytes are scaled codes."""
        return self.dtype if self.scales is None else "BF16"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a parent as the plan sees it: its shape, and where its values come from."""

    name: str
    shape: tuple[int, ...]
    bytes: ByteRange


@dataclass(frozen=True, slots=True)
class LowRankDelta:
    """What an adapter adds to a matrix: scaling · (up @ down), transposed if so said; row-major factors.

    Attributes:
        down: [rank, columns].
        up: [rows, rank].
        rank: Of both.
        scaling: alpha / rank, or alpha / √rank (rslora).
        is_transposed: Whether the matrix is (up @ down)ᵀ: embeddings, and layers that store [in, out].
        magnitude: DoRA's length of every row of the matrix, [rows], or None.

    Source: LoRA, arXiv 2106.09685; rslora, arXiv 2312.03732; DoRA, arXiv 2402.09353.
    """

    down: ByteRange
    up: ByteRange
    rank: int
    scaling: float
    is_transposed: bool = False
    magnitude: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One tensor: what happens to it, why, from which bytes and to which (`start`, `end` in the output file).

    Attributes:
        name: Its name.
        shape: Its shape in the output.
        action: What happens.
        reason: Why, in words.
        base: Its bytes in the base.
        instruct: Its bytes in the instruct; None where `delta` makes the instruct's values from the base's.
        out_dtype: dtype in the output.
        start: First byte in the output file.
        end: End, exclusive.
        reference: Its bytes in the chain's B: the instruct's values are base + (instruct − reference).
        delta: What an adapter adds to the base's values.
        factor: The schedule's: this tensor's strength is factor · λ.
        shared_elements: How many leading elements both parents hold; the rest is copied from the longer one. None: all.
    """

    name: str
    shape: tuple[int, ...]
    action: Action
    reason: str
    base: ByteRange | None
    instruct: ByteRange | None
    out_dtype: str
    start: int = 0
    end: int = 0
    reference: ByteRange | None = None
    delta: LowRankDelta | None = None
    factor: float = 1.0
    shared_elements: int | None = None

    @property
    def elements(self) -> int:
        """How many elements the output's tensor has."""
        return math.prod(self.shape)

    def side(self, role: Role) -> ByteRange | None:
        """Return the tensor's own bytes in one parent."""
        return {"base": self.base, "instruct": self.instruct, "reference": self.reference}[role]

    def as_record(self) -> dict[str, Any]:
        """Return the row as JSON; what is at its default is left out, as a plan may have 20 000 rows."""
        return {key: value for key, value in asdict(self).items() if value is not None and _DEFAULTS.get(key) != value}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `as_record` wrote."""
        return cls(
            **{
                **record,
                "shape": tuple(record["shape"]),
                "action": Action(record["action"]),
                "base": _range_from_record(record.get("base")),
                "instruct": _range_from_record(record.get("instruct")),
                "reference": _range_from_record(record.get("reference")),
                "delta": _delta_from_record(record.get("delta")),
            }
        )


_DEFAULTS: Final = {"factor": 1.0, "start": 0, "end": 0}


@dataclass(frozen=True)
class ShardPlan:
    """One output file, the same layout for every λ. `owed` are input files whose digests this unit owes, by role."""

    file: str
    rows: tuple[PlanRow, ...]
    owed: Mapping[Role, tuple[str, ...]]

    @property
    def header(self) -> bytes:
        """The file's first bytes: 8-byte length and the JSON header, padded with spaces to a multiple of 8."""
        return encode_header(self.rows)

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return self.rows[-1].end if self.rows else len(self.header)

    def as_record(self) -> dict[str, Any]:
        """Return the shard as JSON for the store."""
        return {
            "file": self.file,
            "rows": [row.as_record() for row in self.rows],
            "owed": {role: list(files) for role, files in self.owed.items()},
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `as_record` wrote."""
        rows = tuple(PlanRow.from_record(row) for row in record["rows"])
        return cls(record["file"], rows, {role: tuple(files) for role, files in record["owed"].items()})


@dataclass(frozen=True)
class MergePlan:
    """The whole merge, for any λ. Byte counts: `read_bytes` once per job, `write_bytes_per_output` once per λ.

    Attributes:
        shards: The output files with the rows that are written.
        absorbed: Rows of tensors that no output holds, each with its reason.
        refusals: Rows of tensors that cannot be merged; the plan is of no use while there are any.
        config_changes: What must differ in the outputs' config.json from the parent's: JSON pointer to value, None to
            remove; so that the config states what the files hold.
        notes: What a user should know of the plan, in words.
    """

    shards: tuple[ShardPlan, ...]
    refusals: tuple[PlanRow, ...]
    absorbed: tuple[PlanRow, ...] = ()
    config_changes: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        """Every row of every output shard."""
        return tuple(row for shard in self.shards for row in shard.rows)

    @property
    def read_bytes(self) -> int:
        """Bytes of tensors read from all parents together, once for the whole sweep."""
        return sum(found.end - found.start for row in self.rows for found in _ranges(row))

    @property
    def write_bytes_per_output(self) -> int:
        """Bytes of safetensors files written for one λ."""
        return sum(shard.size_bytes for shard in self.shards)

    def require_accepted(self) -> None:
        """Let a plan without refusals pass.

        Raises:
            PlanRefused: Some tensor cannot be paired; names the first 20 with their reasons.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise refusal

    def refusal(self, named: int = _NAMED_REFUSALS) -> PlanRefused | None:
        """Return why the plan is of no use, with the reasons of the first `named` tensors; None where it is of use."""
        if not self.refusals:
            return None
        told = [{"tensor": row.name, "reason": row.reason} for row in self.refusals[:named]]
        first = "; ".join(f"{item['tensor']}: {item['reason']}" for item in told[:3])
        more = f"; and {len(self.refusals) - 3} more" if len(self.refusals) > 3 else ""
        return PlanRefused(
            f"{len(self.refusals)} tensor(s) cannot be merged: {first}{more}",
            refusals=told,
            count=len(self.refusals),
        )

    def exceptions(self) -> list[dict[str, str]]:
        """Return every row that is not plain interpolation, as JSON: {tensor, action, reason}."""
        return [
            {"tensor": row.name, "action": row.action.value, "reason": row.reason}
            for row in (*self.rows, *self.absorbed, *self.refusals)
            if row.action is not Action.INTERPOLATE or row.shared_elements is not None
        ]

    @property
    def largest_shard_bytes(self) -> int:
        """Size of the largest output file."""
        return max((shard.size_bytes for shard in self.shards), default=0)

    def summary(self) -> dict[str, Any]:
        """Return the plan in a few numbers, as JSON: actions, dtypes, shards and bytes."""
        return {
            "tensors": len(self.rows),
            "actions": dict(Counter(row.action.value for row in (*self.rows, *self.absorbed))),
            "out_dtypes": dict(Counter(row.out_dtype for row in self.rows)),
            "shards": [{"file": shard.file, "size_bytes": shard.size_bytes} for shard in self.shards],
            "read_bytes": self.read_bytes,
            "write_bytes_per_output": self.write_bytes_per_output,
            "notes": list(self.notes),
        }

    def index_json(self) -> bytes | None:
        """Return the outputs' index file, or None where a single `model.safetensors` needs none."""
        if [shard.file for shard in self.shards] == ["model.safetensors"]:
            return None
        weight_map = {row.name: shard.file for shard in self.shards for row in shard.rows}
        total = sum(row.end - row.start for row in self.rows)
        return json.dumps(
            {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}, indent=2
        ).encode()


def place(rows: Iterable[PlanRow]) -> tuple[PlanRow, ...]:
    """Give the rows of one file their places: wider dtypes first, else in the order given, back to back.

    As the format's own writer orders them, so that every tensor starts at a multiple of its element size.
    """
    ordered = sorted(rows, key=lambda row: -DTYPE_BITS[row.out_dtype])
    sized = _back_to_back(ordered, 0)
    return _back_to_back(sized, len(encode_header(sized)))


def encode_header(rows: tuple[PlanRow, ...]) -> bytes:
    """Encode a file's length and header. Offsets in the JSON count from its end, whatever `start` counts from."""
    origin = rows[0].start if rows else 0
    document: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for row in rows:
        document[row.name] = {
            "dtype": row.out_dtype,
            "shape": list(row.shape),
            "data_offsets": [row.start - origin, row.end - origin],
        }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _back_to_back(rows: Iterable[PlanRow], start: int) -> tuple[PlanRow, ...]:
    placed = []
    for row in rows:
        end = start + row.elements * DTYPE_BITS[row.out_dtype] // 8
        placed.append(replace(row, start=start, end=end))
        start = end
    return tuple(placed)


def _ranges(row: PlanRow) -> Iterable[ByteRange | Scales]:
    """Every stretch of a parent's bytes that a row reads."""
    factors = (row.delta.down, row.delta.up, row.delta.magnitude) if row.delta else ()
    for found in (row.base, row.instruct, row.reference, *factors):
        if found is not None:
            yield found
            if found.scales is not None:
                yield found.scales


def _range_from_record(record: Mapping[str, Any] | None) -> ByteRange | None:
    if record is None:
        return None
    scales = record.get("scales")
    whole = scales and Scales(**{**scales, "shape": tuple(scales["shape"]), "block": tuple(scales["block"])})
    return ByteRange(**{**record, "scales": whole})


def _delta_from_record(record: Mapping[str, Any] | None) -> LowRankDelta | None:
    if record is None:
        return None
    ranges = {key: _range_from_record(record.get(key)) for key in ("down", "up", "magnitude")}
    return LowRankDelta(**{**record, **ranges})
