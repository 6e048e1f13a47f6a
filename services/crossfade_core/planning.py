"""Plan a merge: pair the parents, give every tensor its strength, lay out the outputs, say what their config must say.

From headers and small files alone; never reads a tensor's bytes. Time and memory grow with the number of tensors, not
with their size. Source of the rules: docs/numerics.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from crossfade_core.errors import TokensConflict
from crossfade_core.heads import Heads, find_heads
from crossfade_core.model_config import config_changes
from crossfade_core.name_patterns import NamePatterns
from crossfade_core.output_shards import lay_out_shards
from crossfade_core.pairing import OUT_DTYPES, pair_parents
from crossfade_core.parents import AdapterSide, Chain, Checkpoint, Tuned, checkpoints_of
from crossfade_core.plan import Action, MergePlan, PlanRow
from crossfade_core.schedule import factors, match_rules
from crossfade_core.spec import MergeSpec, Role
from crossfade_core.vocabulary import conflicts, describe

_DTYPE_KEYS: Final = frozenset({"dtype", "torch_dtype"})
_CONFIG_DTYPES: Final[dict[str, str]] = {**{short: name for name, short in OUT_DTYPES.items()}, "F64": "float64"}


def plan_merge(spec: MergeSpec, base: Checkpoint, tuned: Tuned) -> MergePlan:
    """Pair the parents of a job.

    Args:
        spec: What the user asked for.
        base: The pretrained side.
        tuned: The other one.

    Returns:
        The plan. Tensors that cannot be paired are in `refusals`, and in no shard.

    Raises:
        TokensConflict: An id means two tokens, and the policy does not ignore that.
        ScheduleRefused: The schedule does not decide every tensor by exactly one rule.
    """
    parents = checkpoints_of(base, tuned)
    heads = find_heads({role: (each.values, each.config) for role, each in parents.items()})
    rows = pair_parents(spec, heads, base, tuned)
    notes = [*_check_tokens(heads, spec, (base, tuned), rows), *_unused_skips(spec, rows)]
    rows = _scheduled(rows, spec)
    shards = lay_out_shards([row for row in rows if row.action not in (Action.REFUSE, Action.ABSORB)], base, tuned)
    carried: Role = "instruct" if isinstance(tuned, Checkpoint) and spec.carried_parent == "instruct" else "base"
    written = [row for shard in shards for row in shard.rows]
    return MergePlan(
        shards,
        refusals=tuple(row for row in rows if row.action is Action.REFUSE),
        absorbed=tuple(row for row in rows if row.action is Action.ABSORB),
        config_changes=_config_changes(parents, carried, written, heads),
        notes=tuple(dict.fromkeys([*notes, *(note for each in parents.values() for note in each.values.notes)])),
    )


def _check_tokens(
    heads: Heads, spec: MergeSpec, parents: tuple[Checkpoint, Tuned], rows: Sequence[PlanRow]
) -> list[str]:
    """Hold the tokenizers against each other: row i of an embedding must mean the same token on all sides."""
    base, tuned = parents
    merged = [row for row in rows if row.action is Action.INTERPOLATE and heads.has_tokens(row.name)]
    if not merged:
        return []
    is_needed = any(row.shared_elements is not None for row in merged)
    is_ignored = spec.policies.tokens == "ignore"
    return [
        note
        for side, theirs in _vocabularies(tuned).items()
        for note in _compare_tokens(side, base.vocabulary, theirs, is_needed=is_needed, is_ignored=is_ignored)
    ]


def _vocabularies(tuned: Tuned) -> dict[str, Mapping[int, str] | None]:
    """Return the vocabularies to hold against the base's, by words; an adapter may bring none and mean the base's."""
    if isinstance(tuned, Chain):
        return {"chain's A": tuned.tuned.vocabulary, "chain's B": tuned.origin.vocabulary}
    if isinstance(tuned, AdapterSide):
        return {} if tuned.vocabulary is None else {"adapter": tuned.vocabulary}
    return {"instruct": tuned.vocabulary}


def _compare_tokens(
    side: str,
    ours: Mapping[int, str] | None,
    theirs: Mapping[int, str] | None,
    *,
    is_needed: bool,
    is_ignored: bool,
) -> list[str]:
    if ours is None or theirs is None:
        lacking = "base" if ours is None else side
        text = f"the tokenizers could not be compared: the {lacking} has no tokenizer file that crossfade reads"
        if is_needed and not is_ignored:
            raise TokensConflict(f"{text}, and the vocabularies differ in size; add it, or policy tokens: ignore")
        return [text]
    found = conflicts(ours, theirs)
    if found and not is_ignored:
        raise TokensConflict(
            f"{describe(found, side)}; merge models of one tokenizer, or policy tokens: ignore",
            conflicts=[each.as_record() for each in found[:20]],
            count=len(found),
        )
    return [f"{describe(found, side)}; ignored by policy tokens: ignore"] if found else []


def _unused_skips(spec: MergeSpec, rows: Iterable[PlanRow]) -> list[str]:
    """Tell of patterns that name nothing: a tensor meant to be left alone may not have been."""
    if not spec.skip:
        return []
    patterns = NamePatterns(spec.skip)
    used = {number for row in rows for number in patterns.matching(row.name)}
    return [f"skip {pattern!r} matches no tensor" for number, pattern in enumerate(spec.skip) if number not in used]


def _scheduled(rows: Sequence[PlanRow], spec: MergeSpec) -> list[PlanRow]:
    """Give every tensor the factor of its one rule, refused ones included: a policy may yet let them in."""
    if not spec.schedule:
        return list(rows)
    found = match_rules([row.name for row in rows if row.action is not Action.ABSORB], spec.schedule)
    by_name = factors(found, spec.schedule)
    return [
        replace(
            row,
            factor=by_name[row.name],
            reason=f"{row.reason}; schedule rule {found[row.name] + 1}, λ × {by_name[row.name]:g}",
        )
        if row.action is Action.INTERPOLATE
        else row
        for row in rows
    ]


def _config_changes(
    parents: Mapping[Role, Checkpoint], role: Role, rows: Sequence[PlanRow], heads: Heads
) -> dict[str, Any]:
    """Return what must change in the carried config.json so that it states what the outputs' files hold."""
    carried = parents[role]
    if carried.config is None:
        return {}
    written = _most_bytes((row.out_dtype, row.end - row.start) for row in rows)
    own = _most_bytes(
        (each.bytes.value_dtype, each.bytes.end - each.bytes.start) for each in carried.values.tensors.values()
    )
    is_due = written != own or not _DTYPE_KEYS.isdisjoint(carried.config)
    return config_changes(
        carried.config,
        dtype=_CONFIG_DTYPES.get(written) if is_due else None,
        is_tied=heads.must_state(carried.config, {row.name for row in rows}),
        vocabulary_rows=heads.rows_in({row.name: row.shape for row in rows}, role),
        is_dequantised=carried.values.is_dequantised,
    )


def _most_bytes(sizes: Iterable[tuple[str, int]]) -> str:
    """Return the float dtype that most bytes are of; empty where there is none."""
    total: Counter[str] = Counter()
    for dtype, size_bytes in sizes:
        if dtype in _CONFIG_DTYPES:
            total[dtype] += size_bytes
    return total.most_common(1)[0][0] if total else ""
