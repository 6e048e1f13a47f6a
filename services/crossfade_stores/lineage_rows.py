"""Write the lineage graph: what an output and its sources are goes in with the transaction that publishes it."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from crossfade_core.canonical_json import json_digest
from crossfade_core.lineage_graph import SightingKind, checkpoint_digest, place_of
from crossfade_stores.job_tables import OutputRow
from crossfade_stores.lineage_tables import EdgeRow, SightingFileRow, SightingRow
from crossfade_stores.table_base import Base

Files = Mapping[str, Mapping[str, Any]]
"""File name to {"size_bytes": int, "sha256": hex}."""


def note_output(session: Session, output: OutputRow, uri: str, inputs: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the sighting of an output that was just published, those of its sources, and the edges between them.

    Nothing is written of an output without weights, which is no checkpoint, nor twice of a source that was read before.

    Args:
        session: Of the transaction that publishes it.
        output: Its row, published.
        uri: Where.
        inputs: Of each source, by role, its pinned `uri` and the `files` that were read.
    """
    at = output.ended_at
    made = checkpoint_digest(_digests(output.files))
    if made is None or at is None:
        return
    whose = {"job": output.job_id, "position": output.position}
    sources = {role: _source(told["uri"], told["files"], at) for role, told in inputs.items()}
    known = {role: source for role, source in sources.items() if source["checkpoint"] is not None}
    sighting = {
        **_sighting(uri, output.files, made, at, whose=whose),
        "kind": SightingKind.OUTPUT,
        "job_id": output.job_id,
        "name": output.name,
        "lam": output.lam,
        "copy_of": next((role for role, source in known.items() if source["checkpoint"] == made), None),
    }
    files = {sighting["id"]: output.files, **{source["id"]: inputs[role]["files"] for role, source in known.items()}}
    new = _unseen(session, [sighting, *known.values()])
    _add(session, SightingRow, new)
    _add(session, SightingFileRow, [row for each in new for row in _file_rows(each["id"], files[each["id"]])])
    _add(session, EdgeRow, [_edge(role, source, sighting) for role, source in known.items()])


def place_digest(uri: str) -> str:
    """Return what a sighting's place is found by."""
    return hashlib.sha256(place_of(uri).encode()).hexdigest()


def _digests(files: Files) -> dict[str, str]:
    return {name: about["sha256"] for name, about in files.items()}


def _source(uri: str, files: Files, at: datetime) -> dict[str, Any]:
    plain = _sighting(uri, files, checkpoint_digest(_digests(files)), at)
    return {**plain, "kind": SightingKind.SOURCE, **dict.fromkeys(("job_id", "name", "lam", "copy_of"))}


def _sighting(
    uri: str, files: Files, checkpoint: str | None, at: datetime, *, whose: Mapping[str, object] | None = None
) -> dict[str, Any]:
    told = {"uri": uri, "files": _digests(files), **(whose or {})}
    sighting_id = json_digest(told).removeprefix("sha256:")
    return {"id": sighting_id, "checkpoint": checkpoint, "place_digest": place_digest(uri), "uri": uri, "at": at}


def _edge(role: str, source: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "output_id": output["id"],
        "role": role,
        "source_id": source["id"],
        "output_checkpoint": output["checkpoint"],
        "source_checkpoint": source["checkpoint"],
        "at": output["at"],
    }


def _file_rows(sighting_id: str, files: Files) -> list[dict[str, Any]]:
    return [
        {"sighting_id": sighting_id, "name": name, "sha256": about["sha256"], "size_bytes": about["size_bytes"]}
        for name, about in sorted(files.items())
    ]


def _unseen(session: Session, sightings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those that are not stored yet, each once, in the order of their ids.

    Two transactions that store the same ones in another order would wait for each other.
    """
    by_id = {each["id"]: each for each in sightings}
    seen = set(session.scalars(select(SightingRow.id).where(SightingRow.id.in_(by_id))))
    return [by_id[sighting_id] for sighting_id in sorted(by_id.keys() - seen)]


def _add(session: Session, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Add rows, but those that another transaction added meanwhile."""
    if rows:
        is_postgres = session.get_bind().dialect.name == "postgresql"
        insert = postgresql.insert if is_postgres else sqlite.insert
        session.execute(insert(table).on_conflict_do_nothing(), rows)
