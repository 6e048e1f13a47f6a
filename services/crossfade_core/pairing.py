"""Pair the parents' tensors: decide for each tensor of their union what happens to it, and why.

Never reads a tensor's bytes; every rule is one of docs/numerics.md, and every choice a policy of the job.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from crossfade_core.adapter import Adapter
from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.heads import Heads
from crossfade_core.name_patterns import NamePatterns
from crossfade_core.parents import AdapterSide, Chain, Checkpoint, Tuned
from crossfade_core.plan import MERGEABLE, ROLES, Action, ByteRange, PlanRow, StoredTensor
from crossfade_core.spec import MergeSpec, Role

OUT_DTYPES: Final[dict[str, str]] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_EXACT: Final = frozenset({"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"})


@dataclass(frozen=True, slots=True)
class _Sides:
    """One tensor in every parent."""

    name: str
    base: StoredTensor | None
    instruct: StoredTensor | None
    reference: StoredTensor | None = None


def pair_parents(spec: MergeSpec, heads: Heads, base: Checkpoint, tuned: Tuned) -> list[PlanRow]:
    """Return one row for every tensor of the union of all parents, refusals included.

    Args:
        spec: Policies, output dtype, what a chain skips.
        heads: Which parents tie their heads.
        base: The pretrained parent.
        tuned: The other one.
    """
    return _Pairer(spec, heads).rows(base, tuned)


class _Pairer:
    """Makes rows, by the policies of one job."""

    def __init__(self, spec: MergeSpec, heads: Heads) -> None:
        self._policies, self._out_dtype, self._heads = spec.policies, spec.out_dtype, heads
        self._skip, self._skips = spec.skip, NamePatterns(spec.skip)

    def rows(self, base: Checkpoint, tuned: Tuned) -> list[PlanRow]:
        """Return one row for every tensor of the union, in the order of the files that the outputs mirror."""
        ours = self._heads.effective(base.values.tensors, "base")
        if isinstance(tuned, AdapterSide):
            adapter = tuned.adapter
            parts = (_absorb(_alone_in("instruct", stored), reason) for stored, reason in adapter.absorbed.values())
            return _joined(
                [*(self._adapted(stored, adapter) for stored in ours.values()), *_absorbed(base, "base"), *parts]
            )
        if isinstance(tuned, Chain):
            return self._chained(ours, base, tuned)
        theirs = self._heads.effective(tuned.values.tensors, "instruct")
        names = [*theirs, *(name for name in ours if name not in theirs)]
        sides = (_Sides(name, ours.get(name), theirs.get(name)) for name in names)
        return _joined([*map(self._pair, sides), *_absorbed(tuned, "instruct"), *_absorbed(base, "base")])

    def _adapted(self, stored: StoredTensor, adapter: Adapter) -> PlanRow:
        if stored.name in adapter.replaced:
            if self._heads.is_tied_embedding(stored.name):
                reason = "replaced by the adapter, which keeps the head that the base ties to it; merge it with peft"
                return self._row(_Sides(stored.name, stored, None), Action.REFUSE, reason)
            return self._pair(_Sides(stored.name, stored, adapter.replaced[stored.name]))
        delta = adapter.deltas.get(stored.name)
        if delta is None:
            return self._copy(stored, "base", "the adapter leaves it as it is")
        row = self._row(_Sides(stored.name, stored, None), Action.INTERPOLATE, f"adapter of rank {delta.rank}")
        return replace(row, delta=delta)

    def _chained(self, ours: Mapping[str, StoredTensor], base: Checkpoint, chain: Chain) -> list[PlanRow]:
        tuned = self._heads.effective(chain.tuned.values.tensors, "instruct")
        origin = self._heads.effective(chain.origin.values.tensors, "reference")
        sides = (
            _Sides(name, ours.get(name), tuned.get(name), origin.get(name)) for name in {**ours, **tuned, **origin}
        )
        absorbed = (
            *_absorbed(base, "base"),
            *_absorbed(chain.tuned, "instruct"),
            *_absorbed(chain.origin, "reference"),
        )
        return _joined([*map(self._link, sides), *absorbed])

    def _link(self, sides: _Sides) -> PlanRow:
        base, tuned, origin = sides.base, sides.instruct, sides.reference
        skipping = self._skips.matching(sides.name)
        if base is None:
            return self._beyond_base(sides, is_skipped=bool(skipping))
        if skipping:
            return self._copy(base, "base", f"skipped by {self._skip[skipping[0]]!r}")
        if tuned is None or origin is None:
            missing = "A and B lack" if tuned is origin else "A lacks" if tuned is None else "B lacks"
            if self._policies.one_sided == "copy":
                return self._copy(base, "base", f"the chain's {missing} it; policy one_sided: copy")
            return self._row(sides, Action.REFUSE, f"the chain's {missing} it; skip it, or policy one_sided: copy")
        return self._link_all(sides, base, tuned, origin)

    def _link_all(self, sides: _Sides, base: StoredTensor, tuned: StoredTensor, origin: StoredTensor) -> PlanRow:
        stored = (base, tuned, origin)
        if all(side.bytes.value_dtype in MERGEABLE for side in stored):
            return self._link_numbers(sides, stored)
        if base.bytes.dtype in _EXACT and _are_alike(base, tuned) and _are_alike(base, origin):
            return self._copy(base, "base", f"{base.bytes.dtype}: a chain adds floating-point differences only")
        return self._row(sides, Action.REFUSE, f"{_chained_types(stored)} cannot be chained; skip it")

    def _link_numbers(self, sides: _Sides, stored: tuple[StoredTensor, StoredTensor, StoredTensor]) -> PlanRow:
        shapes = {side.shape for side in stored}
        reason, found = f"floating point in all three{self._heads.told(sides.name)}", _chained_types(stored)
        if len(shapes) == 1:
            return self._row(sides, Action.INTERPOLATE, reason)
        if not self._heads.are_vocabularies(sides.name, shapes):
            return self._row(sides, Action.REFUSE, f"shapes differ: {found}; skip it")
        if self._policies.extra_rows == "refuse":
            return self._row(sides, Action.REFUSE, f"vocabularies differ: {found}; skip it, or policy extra_rows: copy")
        shared = min(math.prod(shape) for shape in shapes)
        row = self._row(sides, Action.INTERPOLATE, f"{reason}; rows that not all have stay the base's ({found})")
        return replace(row, shared_elements=shared)

    def _beyond_base(self, sides: _Sides, *, is_skipped: bool) -> PlanRow:
        letters = " and ".join(["A"] * (sides.instruct is not None) + ["B"] * (sides.reference is not None))
        reason = f"only in the chain's {letters}"
        if is_skipped or self._policies.one_sided == "copy":
            return _absorb(sides, f"{reason}: the base has nothing to add it to")
        return self._row(sides, Action.REFUSE, f"{reason}; skip it, or policy one_sided: copy")

    def _pair(self, sides: _Sides) -> PlanRow:
        base, instruct = sides.base, sides.instruct
        if base is None or instruct is None:
            return self._alone(sides)
        told = self._heads.told(sides.name)
        if base.bytes.value_dtype in MERGEABLE and instruct.bytes.value_dtype in MERGEABLE:
            if base.shape == instruct.shape:
                return self._row(sides, Action.INTERPOLATE, f"floating point in both parents{told}")
            return self._other_shape(sides, base, instruct)
        if base.shape != instruct.shape:
            return self._other_shape(sides, base, instruct)
        return self._exact(sides, base, instruct)

    def _exact(self, sides: _Sides, base: StoredTensor, instruct: StoredTensor) -> PlanRow:
        files = base.bytes.file, instruct.bytes.file
        dtypes = f"{base.bytes.dtype} in base ({files[0]}), {instruct.bytes.dtype} in instruct ({files[1]})"
        if {base.bytes.dtype, instruct.bytes.dtype} <= _EXACT:
            if self._policies.integers != "equal":
                side = base if self._policies.integers == "base" else instruct
                return self._copy(
                    side, self._policies.integers, f"{dtypes}; policy integers: {self._policies.integers}"
                )
            if base.bytes.dtype == instruct.bytes.dtype:
                reason = f"{base.bytes.dtype}: must be equal in both parents, checked byte for byte"
                return self._row(sides, Action.COPY_EQUAL, reason)
            return self._row(sides, Action.REFUSE, f"dtype {dtypes}; policy integers: base or instruct copies one")
        return self._row(sides, Action.REFUSE, f"dtype {dtypes}: numbers, codes and complex numbers do not pair")

    def _other_shape(self, sides: _Sides, base: StoredTensor, instruct: StoredTensor) -> PlanRow:
        found = f"{_shape(base)} in base ({base.bytes.file}), {_shape(instruct)} in instruct ({instruct.bytes.file})"
        both = {base.bytes.value_dtype, instruct.bytes.value_dtype} <= MERGEABLE
        if both and self._heads.are_vocabularies(sides.name, {base.shape, instruct.shape}):
            if self._policies.extra_rows == "refuse":
                reason = f"vocabularies differ: {found}; policy extra_rows: copy keeps the rows that one side has"
                return self._row(sides, Action.REFUSE, reason)
            longer, which = (base, "base") if base.shape[0] > instruct.shape[0] else (instruct, "instruct")
            reason = (
                f"shared rows interpolate, the rest is copied from the {which}: {found}{self._heads.told(sides.name)}"
            )
            row = replace(self._row(sides, Action.INTERPOLATE, reason), shape=longer.shape)
            return replace(row, shared_elements=min(math.prod(base.shape), math.prod(instruct.shape)))
        policy = self._policies.other_shape
        if policy == "refuse":
            return self._row(sides, Action.REFUSE, f"shape {found}; policy other_shape: base or instruct copies one")
        return self._copy(
            base if policy == "base" else instruct, policy, f"shape {found}; policy other_shape: {policy}"
        )

    def _alone(self, sides: _Sides) -> PlanRow:
        role: Role = "base" if sides.base is not None else "instruct"
        stored = sides.base or sides.instruct
        if stored is None:
            raise ValueError(f"tensor {sides.name!r} is in no parent")
        reason = f"only in the {role} checkpoint ({stored.bytes.file})"
        if self._policies.one_sided == "copy":
            return self._copy(stored, role, f"{reason}; policy one_sided: copy")
        return self._row(sides, Action.REFUSE, f"{reason}; policy one_sided: copy keeps such tensors")

    def _copy(self, stored: StoredTensor, role: Role, reason: str) -> PlanRow:
        sides, dtype = _alone_in(role, stored), stored.bytes.dtype
        if DTYPE_BITS[dtype] % 8:
            reason = (
                f"{reason}; but {dtype} elements, smaller than a byte, are not copied: use the unquantised checkpoint"
            )
            return self._row(sides, Action.REFUSE, reason)
        return self._row(sides, Action.COPY_BASE if role == "base" else Action.COPY_INSTRUCT, reason)

    def _row(self, sides: _Sides, action: Action, reason: str) -> PlanRow:
        stored = _first(sides)
        out_dtype = stored.bytes.value_dtype
        if self._out_dtype != "auto" and out_dtype in MERGEABLE:
            out_dtype = OUT_DTYPES[self._out_dtype]
        return PlanRow(
            sides.name,
            stored.shape,
            action,
            reason,
            _bytes(sides.base),
            _bytes(sides.instruct),
            out_dtype,
            reference=_bytes(sides.reference),
        )


def _bytes(stored: StoredTensor | None) -> ByteRange | None:
    return None if stored is None else stored.bytes


def _alone_in(role: Role, stored: StoredTensor) -> _Sides:
    found: dict[Role, StoredTensor] = {role: stored}
    return _Sides(stored.name, *(found.get(each) for each in ROLES))


def _shape(stored: StoredTensor) -> str:
    return str(list(stored.shape))


def _are_alike(ours: StoredTensor, theirs: StoredTensor) -> bool:
    return ours.shape == theirs.shape and ours.bytes.dtype == theirs.bytes.dtype


def _chained_types(stored: Iterable[StoredTensor]) -> str:
    named = zip(stored, ("base", "A", "B"), strict=True)
    return ", ".join(f"{side.bytes.dtype} {_shape(side)} in {which}" for side, which in named)


def _absorbed(checkpoint: Checkpoint, role: Role) -> Iterable[PlanRow]:
    return (_absorb(_alone_in(role, stored), reason) for stored, reason in checkpoint.values.absorbed.values())


def _absorb(sides: _Sides, reason: str) -> PlanRow:
    stored, ranges = _first(sides), (_bytes(sides.base), _bytes(sides.instruct))
    return PlanRow(
        sides.name,
        stored.shape,
        Action.ABSORB,
        reason,
        *ranges,
        stored.bytes.dtype,
        reference=_bytes(sides.reference),
    )


def _first(sides: _Sides) -> StoredTensor:
    return next(side for side in (sides.base, sides.instruct, sides.reference) if side is not None)


def _joined(rows: Iterable[PlanRow]) -> list[PlanRow]:
    """Make one row of those absorbed under one name from several parents, and drop them beside a written one."""
    found: dict[str, PlanRow] = {}
    for row in rows:
        first = found.setdefault(row.name, row)
        if first is not row and first.action is Action.ABSORB:
            found[row.name] = replace(
                first,
                base=first.base or row.base,
                instruct=first.instruct or row.instruct,
                reference=first.reference or row.reference,
            )
    return list(found.values())
