"""The lineage graph on SQL as it is read: a query for each step of a walk, whatever the number of checkpoints on it."""

import functools
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select, bindparam, func, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from crossfade_core.errors import LineageNotFound
from crossfade_core.lineage_graph import (
    DEFAULT_DEPTH,
    MAX_MATCHES,
    MAX_SIGHTINGS,
    Edge,
    LineageGraph,
    Match,
    Node,
    Walk,
    place_of,
    walk,
)
from crossfade_core.ports import Clock
from crossfade_stores.lineage_rows import place_digest
from crossfade_stores.lineage_tables import EdgeRow, SightingFileRow, SightingRow
from crossfade_stores.transactions import StoreSide, Transactions

_OUTPUT, _SOURCE = aliased(SightingRow), aliased(SightingRow)
_NEWEST_FIRST: Final = (SightingRow.at.desc(), SightingRow.kind, SightingRow.id)
_OLDEST_FIRST: Final = (SightingRow.at, SightingRow.kind.desc(), SightingRow.id)
"""What was made stands before what it was made of, or behind."""
_WAY_OUT: Final = (
    "known are outputs that this service published and what it read for them; what an output says of itself, "
    "`crossfade inspect` shows"
)


def _edges_at(end: InstrumentedAttribute[str]) -> Select[Any]:
    """Return the query for edges at checkpoints; an output that equals a source of its own descends from nothing."""
    ends = (EdgeRow.source_checkpoint, _SOURCE.uri, EdgeRow.output_checkpoint, _OUTPUT.uri)
    columns: tuple[InstrumentedAttribute[Any], ...] = (
        EdgeRow.output_id,
        EdgeRow.role,
        *ends,
        _OUTPUT.job_id,
        _OUTPUT.lam,
    )
    return (
        select(*columns)
        .join(_OUTPUT, _OUTPUT.id == EdgeRow.output_id)
        .join(_SOURCE, _SOURCE.id == EdgeRow.source_id)
        .where(end.in_(bindparam("checkpoints", expanding=True)), _OUTPUT.copy_of.is_(None))
        .order_by(EdgeRow.at.desc(), EdgeRow.output_id, EdgeRow.role)
        .limit(bindparam("at_most"))
    )


def _numbered() -> Select[Any]:
    numbered = (
        select(
            *SightingRow.__table__.columns,
            func.row_number().over(partition_by=SightingRow.checkpoint, order_by=_OLDEST_FIRST).label("number"),
            func.count().over(partition_by=SightingRow.checkpoint).label("sighting_count"),
        )
        .where(SightingRow.checkpoint.in_(bindparam("checkpoints", expanding=True)))
        .subquery()
    )
    return select(numbered).where(numbered.c.number <= MAX_SIGHTINGS).order_by(numbered.c.number)


_EDGES_UP: Final = _edges_at(EdgeRow.output_checkpoint)
_EDGES_DOWN: Final = _edges_at(EdgeRow.source_checkpoint)
_FIRST_SIGHTINGS: Final = _numbered()
_WITH_FILE: Final = (
    select(*SightingRow.__table__.columns, SightingFileRow.name.label("file"))
    .join(SightingFileRow, SightingFileRow.sighting_id == SightingRow.id)
    .where(SightingFileRow.sha256 == bindparam("sha256"))
    .order_by(*_NEWEST_FIRST, SightingFileRow.name)
)
_SIGHTINGS: Final = select(SightingRow).order_by(*_NEWEST_FIRST)
_OF_CHECKPOINT: Final = _SIGHTINGS.where(SightingRow.checkpoint == bindparam("sha256"))
_SOURCES_OF: Final = (
    select(EdgeRow.output_id, EdgeRow.role, _SOURCE.uri)
    .join(_SOURCE, _SOURCE.id == EdgeRow.source_id)
    .where(EdgeRow.output_id.in_(bindparam("outputs", expanding=True)))
    .order_by(EdgeRow.role)
)


class SqlLineageStore(StoreSide):
    """The graph on SQLite or PostgreSQL; see `crossfade_core.lineage_graph.LineageStore`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(Transactions(engine), clock)

    def of_digest(self, sha256: str, depth: int = DEFAULT_DEPTH) -> LineageGraph:
        """Return what is around the checkpoints that have a digest, or a file with it.

        Raises:
            LineageNotFound: No sighting has it.
        """
        with self._transactions.rows() as connection:
            rows = _at_most(connection, _WITH_FILE, sha256=sha256) or _at_most(
                connection, _OF_CHECKPOINT, sha256=sha256
            )
            if not rows:
                raise LineageNotFound(
                    f"nothing here has the SHA-256 {sha256}, neither a file nor a checkpoint; {_WAY_OUT}", sha256=sha256
                )
            return _around(connection, rows, depth)

    def of_uri(self, uri: str, depth: int = DEFAULT_DEPTH) -> LineageGraph:
        """Return what is around the checkpoints seen at a URI; without a commit of the Hub, at any.

        Raises:
            LineageNotFound: None was.
        """
        query = _SIGHTINGS.where(SightingRow.place_digest == place_digest(uri))
        if uri.rstrip("/") != place_of(uri):
            query = query.where(SightingRow.uri == uri.rstrip("/"))
        with self._transactions.rows() as connection:
            rows = _at_most(connection, query)
            if not rows:
                raise LineageNotFound(
                    f"nothing was published to or read from {uri}; give it as a job shows it, of a Hub with the commit "
                    f"or without any revision; {_WAY_OUT}",
                    uri=uri,
                )
            return _around(connection, rows, depth)


def _at_most(connection: Connection, query: Select[Any], **values: str) -> Sequence[Row[Any]]:
    return connection.execute(query.limit(MAX_MATCHES + 1), values).all()


def _around(connection: Connection, rows: Sequence[Row[Any]], depth: int) -> LineageGraph:
    """Walk both ways from matched sightings, of which there may be one more than is told."""
    matches = _matches(connection, rows[:MAX_MATCHES])
    start = list(dict.fromkeys(match.sighting.checkpoint for match in matches))
    up = walk(start, functools.partial(_edges, connection, _EDGES_UP), lambda edge: edge.source, depth)
    down = walk(start, functools.partial(_edges, connection, _EDGES_DOWN), lambda edge: edge.output, depth)
    nodes = _nodes(connection, up, down)
    return LineageGraph(
        matches=tuple(matches),
        ancestors=nodes[0],
        descendants=nodes[1],
        edges=tuple({(edge.output_id, edge.role): edge for edge in (*up.edges, *down.edges)}.values()),
        is_truncated=len(rows) > MAX_MATCHES or up.is_truncated or down.is_truncated,
    )


def _matches(connection: Connection, rows: Sequence[Row[Any]]) -> list[Match]:
    files: dict[str, list[str]] = {row.id: [] for row in rows}
    for row in rows:
        if "file" in row._fields:
            files[row.id].append(row.file)
    sources: dict[str, dict[str, str]] = {sighting_id: {} for sighting_id in files}
    for output_id, role, uri in connection.execute(_SOURCES_OF, {"outputs": list(files)}):
        sources[output_id][role] = uri
    sightings = {row.id: SightingRow.as_sighting(row) for row in rows}
    return [Match(sighting, tuple(files[key]), sources[key]) for key, sighting in sightings.items()]


def _edges(connection: Connection, query: Select[Any], checkpoints: Sequence[str], at_most: int) -> list[Edge]:
    found = connection.execute(query, {"checkpoints": checkpoints, "at_most": at_most}).all()
    return [Edge(*row) for row in found]


def _nodes(connection: Connection, *walks: Walk) -> list[tuple[Node, ...]]:
    """Return the checkpoints of each walk but those it began with, by distance, with where they were seen first."""
    levels = [{checkpoint: level for checkpoint, level in each.levels.items() if level} for each in walks]
    wanted = sorted({checkpoint for each in levels for checkpoint in each})
    seen: dict[str, list[Row[Any]]] = {checkpoint: [] for checkpoint in wanted}
    for row in connection.execute(_FIRST_SIGHTINGS, {"checkpoints": wanted}).all():
        seen[row.checkpoint].append(row)
    return [tuple(_node(checkpoint, level, seen[checkpoint]) for checkpoint, level in each.items()) for each in levels]


def _node(checkpoint: str, level: int, rows: Sequence[Row[Any]]) -> Node:
    sightings = tuple(SightingRow.as_sighting(row) for row in rows)
    return Node(checkpoint, level, rows[0].sighting_count, sightings)
