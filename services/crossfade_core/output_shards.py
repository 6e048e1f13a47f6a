"""Lay out the outputs' files: which tensor goes into which, in what order, and which unit owes which input's digest.

Output shards mirror the files of the model whose names the outputs take: the instruct's, or the base's where the
instruct side is an adapter or a chain. Pure; time grows with the number of tensors.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from crossfade_core.checkpoint import CheckpointLayout
from crossfade_core.parents import Checkpoint, Tuned, layouts_of
from crossfade_core.plan import PlanRow, ShardPlan, place
from crossfade_core.spec import Role


def lay_out_shards(rows: Sequence[PlanRow], base: Checkpoint, tuned: Tuned) -> tuple[ShardPlan, ...]:
    """Lay out the output files, and share out the digests of the inputs.

    Args:
        rows: Every row that is written.
        base: The pretrained parent.
        tuned: The other one.
    """
    mirrored: Role = "instruct" if isinstance(tuned, Checkpoint) else "base"
    skeleton = tuned.layout if isinstance(tuned, Checkpoint) else base.layout
    held: dict[str, list[PlanRow]] = {shard.file: [] for shard in skeleton.shards}
    homes = _homes(rows, mirrored, base.layout, next(iter(held)))
    for row in _in_file_order(rows, mirrored):
        held[homes[row.name]].append(row)
    empty = {shard.file for shard in skeleton.shards if not shard.tensors}
    kept = {file: found for file, found in held.items() if found or file in empty}
    owed = _owed(kept, layouts_of(base, tuned), mirrored)
    return tuple(ShardPlan(file, place(found), owed[file]) for file, found in kept.items())


def _in_file_order(rows: Sequence[PlanRow], mirrored: Role) -> list[PlanRow]:
    """Sort the rows as their bytes lie in the mirrored parent; what it lacks comes last."""
    return sorted(rows, key=lambda row: _position(row, mirrored))


def _position(row: PlanRow, mirrored: Role) -> tuple[bool, str, int]:
    own = row.side(mirrored)
    found = own or row.base or row.instruct
    return (own is None, found.file, found.start) if found else (True, "", 0)


def _homes(rows: Sequence[PlanRow], mirrored: Role, base: CheckpointLayout, first: str) -> dict[str, str]:
    """Return the output file of every row: the mirrored parent's own, or that of most of the tensors beside it."""
    beside: dict[str, Counter[str]] = {shard.file: Counter() for shard in base.shards}
    for row in rows:
        own = row.side(mirrored)
        if own is not None and row.base is not None:
            beside[row.base.file][own.file] += row.base.end - row.base.start + 1
    nearest = {file: found.most_common(1)[0][0] for file, found in beside.items() if found}
    homes = {}
    for row in rows:
        own = row.side(mirrored)
        near = first if row.base is None else nearest.get(row.base.file, first)
        homes[row.name] = near if own is None else own.file
    return homes


def _owed(
    held: Mapping[str, list[PlanRow]], layouts: Mapping[Role, CheckpointLayout], mirrored: Role
) -> dict[str, dict[Role, tuple[str, ...]]]:
    """Share out the digests of the parents' files: each to the output file that reads most of its bytes."""
    weight: Counter[tuple[Role, str, str]] = Counter()
    for shard, rows in held.items():
        for row in rows:
            for role in layouts:
                side = row.side(role)
                if side is not None:
                    weight[role, side.file, shard] += side.end - side.start + 1
    owner: dict[tuple[Role, str], str] = {}
    for role, layout in layouts.items():
        for file in (shard.file for shard in layout.shards):
            owner[role, file] = file if role == mirrored and file in held else next(iter(held), "")
    for (role, file, shard), _ in sorted(weight.items(), key=lambda item: item[1]):
        owner[role, file] = shard
    owed: dict[str, dict[Role, list[str]]] = {shard: {role: [] for role in layouts} for shard in held}
    for (role, file), shard in owner.items():
        if shard in owed:
            owed[shard][role].append(file)
    return {shard: {role: tuple(files) for role, files in of.items()} for shard, of in owed.items()}
