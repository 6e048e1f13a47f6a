"""Pair two checkpoints: one row per tensor of their union, output shards, byte ranges and cost, from headers alone.

Decides what happens to every tensor and why (docs/numerics.md); never reads a tensor's bytes. A plan is a
value: it can be printed, priced, stored and tested. Output shards mirror the instruct checkpoint's files; inside a
file the order is the instruct file's, wider dtypes first, as the format's own writer orders them, so that every
tensor starts at a multiple of its element size.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from crossfade_core.checkpoint import DTYPE_BITS, LENGTH_BYTES, CheckpointLayout, TensorEntry
from crossfade_core.errors import PlanRefused
from crossfade_core.spec import OutDtype, Parent

MERGEABLE: Final = frozenset({"BF16", "F16", "F32", "F64"})
OUT_DTYPES: Final[dict[str, str]] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_EXACT: Final = frozenset({"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"})
_NAMED_REFUSALS: Final = 20

_Found = tuple[str, TensorEntry]
"""A tensor and the file it lies in."""


class Action(StrEnum):
    """What happens to a tensor."""

    INTERPOLATE = "interpolate"
    COPY_BASE = "copy_base"
    COPY_INSTRUCT = "copy_instruct"
    COPY_EQUAL = "copy_equal"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Where a tensor's bytes lie in a parent: absolute offsets in `file`, end exclusive."""

    file: str
    dtype: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One tensor: what happens to it, why, from which bytes and to which (`start`, `end` in the output file)."""

    name: str
    shape: tuple[int, ...]
    action: Action
    reason: str
    base: ByteRange | None
    instruct: ByteRange | None
    out_dtype: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class ShardPlan:
    """One output file, the same layout for every λ. `hash_files` are the input files whose digests this unit owes."""

    file: str
    rows: tuple[PlanRow, ...]
    base_hash_files: tuple[str, ...] = ()
    instruct_hash_files: tuple[str, ...] = ()

    @property
    def header(self) -> bytes:
        """The file's first bytes: 8-byte length and the JSON header, padded with spaces to a multiple of 8."""
        return _encode_header(self.rows)

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return self.rows[-1].end if self.rows else len(self.header)

    def as_record(self) -> dict[str, Any]:
        """Return the shard as JSON for the store."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `as_record` wrote."""
        rows = tuple(
            PlanRow(
                **{
                    **row,
                    "shape": tuple(row["shape"]),
                    "action": Action(row["action"]),
                    "base": ByteRange(**row["base"]) if row["base"] else None,
                    "instruct": ByteRange(**row["instruct"]) if row["instruct"] else None,
                }
            )
            for row in record["rows"]
        )
        return cls(record["file"], rows, tuple(record["base_hash_files"]), tuple(record["instruct_hash_files"]))


@dataclass(frozen=True)
class MergePlan:
    """The whole merge, for any λ. Byte counts: `read_bytes` once per job, `write_bytes_per_output` once per λ."""

    shards: tuple[ShardPlan, ...]
    refusals: tuple[PlanRow, ...]

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        """Every row of every output shard."""
        return tuple(row for shard in self.shards for row in shard.rows)

    @property
    def read_bytes(self) -> int:
        """Bytes of tensors read from both parents together, once for the whole sweep."""
        sides = (side for row in self.rows for side in (row.base, row.instruct) if side)
        return sum(side.end - side.start for side in sides)

    @property
    def write_bytes_per_output(self) -> int:
        """Bytes of safetensors files written for one λ."""
        return sum(shard.size_bytes for shard in self.shards)

    def require_accepted(self) -> None:
        """Let a plan without refusals pass.

        Raises:
            PlanRefused: Some tensor cannot be paired; names the first 20 with their reasons.
        """
        if not self.refusals:
            return
        named = [{"tensor": row.name, "reason": row.reason} for row in self.refusals[:_NAMED_REFUSALS]]
        first = "; ".join(f"{item['tensor']}: {item['reason']}" for item in named[:3])
        more = f"; and {len(self.refusals) - 3} more" if len(self.refusals) > 3 else ""
        raise PlanRefused(
            f"{len(self.refusals)} tensor(s) cannot be merged: {first}{more}. "
            "Both checkpoints must be of one architecture",
            refusals=named,
            count=len(self.refusals),
        )

    def summary(self) -> dict[str, Any]:
        """Return the plan in a few numbers, as JSON: actions, dtypes, shards and bytes."""
        return {
            "tensors": len(self.rows),
            "actions": dict(Counter(row.action.value for row in self.rows)),
            "out_dtypes": dict(Counter(row.out_dtype for row in self.rows)),
            "shards": [{"file": shard.file, "size_bytes": shard.size_bytes} for shard in self.shards],
            "read_bytes": self.read_bytes,
            "write_bytes_per_output": self.write_bytes_per_output,
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


def plan_merge(base: CheckpointLayout, instruct: CheckpointLayout, out_dtype: OutDtype) -> MergePlan:
    """Pair two checkpoints; time and memory grow with the number of tensors, not with their size.

    Args:
        base: Layout of the pretrained side.
        instruct: Layout of the tuned side; output files take its names and order.
        out_dtype: dtype of interpolated tensors, `auto` for each base tensor's own.

    Returns:
        The plan. Tensors that cannot be paired are in `refusals`, and in no shard.
    """
    rows = {
        name: _pair(base.tensors[name], found, out_dtype) if name in base.tensors else _alone("instruct", found)
        for name, found in instruct.tensors.items()
    }
    rows |= {name: _alone("base", found) for name, found in base.tensors.items() if name not in rows}
    refusals = tuple(row for row in rows.values() if row.action is Action.REFUSE)
    owed = _base_files_by_shard(base, instruct)
    shards = tuple(
        ShardPlan(
            shard.file,
            _place([rows[tensor.name] for tensor in shard.tensors if rows[tensor.name].action is not Action.REFUSE]),
            base_hash_files=owed[shard.file],
            instruct_hash_files=(shard.file,),
        )
        for shard in instruct.shards
    )
    return MergePlan(shards, refusals)


def _alone(side: Parent, found: _Found) -> PlanRow:
    file, entry = found
    base, instruct = (_range(found), None) if side == "base" else (None, _range(found))
    reason = f"only in the {side} checkpoint ({file})"
    return PlanRow(entry.name, entry.shape, Action.REFUSE, reason, base, instruct, entry.dtype)


def _pair(base: _Found, instruct: _Found, out_dtype: OutDtype) -> PlanRow:
    action, reason = _decide(base, instruct)
    interpolated = action is Action.INTERPOLATE and out_dtype != "auto"
    written = OUT_DTYPES[out_dtype] if interpolated else base[1].dtype
    return PlanRow(instruct[1].name, instruct[1].shape, action, reason, _range(base), _range(instruct), written)


def _decide(base: _Found, instruct: _Found) -> tuple[Action, str]:
    (base_file, b), (instruct_file, i) = base, instruct
    if b.shape != i.shape:
        reason = f"shape {list(b.shape)} in base ({base_file}), {list(i.shape)} in instruct ({instruct_file})"
        return Action.REFUSE, reason
    if b.dtype in MERGEABLE and i.dtype in MERGEABLE:
        return Action.INTERPOLATE, "floating point in both parents"
    if b.dtype != i.dtype:
        return Action.REFUSE, f"dtype {b.dtype} in base ({base_file}), {i.dtype} in instruct ({instruct_file})"
    if b.dtype in _EXACT:
        return Action.COPY_EQUAL, f"{b.dtype}: must be equal in both parents, checked byte for byte"
    return Action.REFUSE, f"dtype {b.dtype} holds quantised codes or complex numbers, which cannot be interpolated"


def _range(found: _Found) -> ByteRange:
    file, entry = found
    return ByteRange(file, entry.dtype, entry.start, entry.end)


def _place(rows: list[PlanRow]) -> tuple[PlanRow, ...]:
    """Give the rows of one file their places: wider dtypes first, else in the order given, back to back."""
    ordered = sorted(rows, key=lambda row: -DTYPE_BITS[row.out_dtype])
    sized = _back_to_back(ordered, 0)
    return _back_to_back(sized, len(_encode_header(sized)))


def _back_to_back(rows: Iterable[PlanRow], start: int) -> tuple[PlanRow, ...]:
    placed = []
    for row in rows:
        end = start + math.prod(row.shape) * DTYPE_BITS[row.out_dtype] // 8
        placed.append(replace(row, start=start, end=end))
        start = end
    return tuple(placed)


def _encode_header(rows: tuple[PlanRow, ...]) -> bytes:
    """Offsets in the JSON count from the end of the header, whatever `start` counts from."""
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


def _base_files_by_shard(base: CheckpointLayout, instruct: CheckpointLayout) -> dict[str, tuple[str, ...]]:
    """Share out the base files' digests: each file to the output shard that holds most of its bytes."""
    weight: Counter[tuple[str, str]] = Counter()
    for name, (file, entry) in base.tensors.items():
        if name in instruct.tensors:
            weight[file, instruct.tensors[name][0]] += entry.end - entry.start + 1
    owner = dict.fromkeys((shard.file for shard in base.shards), instruct.shards[0].file)
    for (file, shard), _ in sorted(weight.items(), key=lambda item: item[1]):
        owner[file] = shard
    return {
        shard.file: tuple(sorted(file for file, holder in owner.items() if holder == shard.file))
        for shard in instruct.shards
    }
