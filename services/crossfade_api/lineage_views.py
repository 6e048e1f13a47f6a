"""The JSON shapes of the lineage graph. Never asks the store."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from crossfade_api.views import View
from crossfade_core.lineage_graph import MAX_SIGHTINGS, Edge, LineageGraph, Match, Node, Sighting, SightingKind

_PREFIX = "sha256:"
CheckpointDigest = Annotated[
    str,
    Field(
        description="`sha256:` over the sorted SHA-256 of the files that decide its numbers, a line each: what "
        "`sha256sum *.safetensors | cut -d' ' -f1 | sort | sha256sum` prints; of an adapter adapter_config.json too.",
        examples=["sha256:" + "5a" * 32],
    ),
]


class SightingView(View):
    """A checkpoint at a URI, as an output or a source of a job."""

    checkpoint: CheckpointDigest
    kind: SightingKind
    uri: str = Field(examples=["hf://acme/base@0f6c5d1d1b5c7cbbd8b0a4e07ad7a6a2d2b3f2a1"])
    at: datetime = Field(description="When it was published; of a source, when an output of it was for the first time.")
    job: str | None = Field(description="Of an output, the job that made it.")
    name: str | None = Field(description="Of an output, its place below the destination.")
    lam: float | None = Field(serialization_alias="lambda", description="Of an output, its strength.")
    copy_of: str | None = Field(
        description="Of an output whose weights are those of one of its sources, as at λ = 0, that source's role: it "
        "is that source once more, and made of no other."
    )

    @classmethod
    def of(cls, sighting: Sighting) -> "SightingView":
        """Show a sighting."""
        return cls.model_validate(_sighting(sighting))


class MatchView(SightingView):
    """A sighting that was asked for."""

    files: list[str] = Field(description="Its files that have the digest that was asked for.")
    sources: dict[str, str] = Field(description="Of an output, the pinned URI of every source, by role.")


class NodeView(View):
    """A checkpoint, wherever it was seen."""

    checkpoint: CheckpointDigest
    level: int = Field(description="How many edges away it is; the shortest way counts.")
    sighting_count: int
    sightings: list[SightingView] = Field(description=f"The first {MAX_SIGHTINGS}.")


class EdgeView(View):
    """One output made of one source."""

    role: str = Field(description="What the source was: `base`, `instruct`, or `reference`, B of a chain.")
    lam: float = Field(serialization_alias="lambda")
    job: str
    source: CheckpointDigest
    source_uri: str
    output: CheckpointDigest
    output_uri: str

    @classmethod
    def of(cls, edge: Edge) -> Self:
        """Show an edge."""
        return cls(
            role=edge.role,
            lam=edge.lam,
            job=edge.job_id,
            source=_PREFIX + edge.source,
            source_uri=edge.source_uri,
            output=_PREFIX + edge.output,
            output_uri=edge.output_uri,
        )


class LineageGraphView(View):
    """What a file or a checkpoint was made of, and what was made of it."""

    matches: list[MatchView] = Field(description="Where it was seen, the newest first.")
    ancestors: list[NodeView] = Field(description="What it was made of, the nearest first.")
    descendants: list[NodeView] = Field(description="What was made of it, the nearest first.")
    edges: list[EdgeView] = Field(description="Between all of these.")
    truncated: bool = Field(description="Whether there is more than is told: farther away, or beyond a bound.")

    @classmethod
    def of(cls, graph: LineageGraph) -> Self:
        """Show a part of the graph."""
        return cls(
            matches=[_match(match) for match in graph.matches],
            ancestors=_nodes(graph.ancestors),
            descendants=_nodes(graph.descendants),
            edges=[EdgeView.of(edge) for edge in graph.edges],
            truncated=graph.is_truncated,
        )


def _sighting(sighting: Sighting) -> dict[str, Any]:
    return {
        "checkpoint": _PREFIX + sighting.checkpoint,
        "kind": sighting.kind,
        "uri": sighting.uri,
        "at": sighting.at,
        "job": sighting.job_id,
        "name": sighting.name,
        "lam": sighting.lam,
        "copy_of": sighting.copy_of,
    }


def _match(match: Match) -> MatchView:
    told = {**_sighting(match.sighting), "files": list(match.files), "sources": dict(match.sources)}
    return MatchView.model_validate(told)


def _nodes(nodes: Sequence[Node]) -> list[NodeView]:
    return [
        NodeView(
            checkpoint=_PREFIX + node.checkpoint,
            level=node.level,
            sighting_count=node.sighting_count,
            sightings=[SightingView.of(sighting) for sighting in node.sightings],
        )
        for node in nodes
    ]
