"""The lineage graph as the service answers it."""

from datetime import datetime

from pydantic import Field

from crossfade_client.answer import View


class SightingView(View):
    """A checkpoint at a URI, as an output or a source of a job; `job`, `name` and `lam` are of outputs alone."""

    checkpoint: str
    kind: str
    uri: str
    at: datetime
    job: str | None = None
    name: str | None = None
    lam: float | None = Field(default=None, alias="lambda")
    copy_of: str | None = None


class MatchView(SightingView):
    """A sighting that was asked for, with its files of the digest that was asked for."""

    files: tuple[str, ...] = ()
    sources: dict[str, str] = Field(default_factory=dict)


class NodeView(View):
    """A checkpoint, wherever it was seen; the first sightings."""

    checkpoint: str
    level: int
    sighting_count: int
    sightings: tuple[SightingView, ...]


class EdgeView(View):
    """One output made of one source, each by its checkpoint's digest."""

    role: str
    lam: float = Field(alias="lambda")
    job: str
    source: str
    source_uri: str
    output: str
    output_uri: str


class LineageGraphView(View):
    """What a file or a checkpoint was made of, and what was made of it."""

    matches: tuple[MatchView, ...]
    ancestors: tuple[NodeView, ...]
    descendants: tuple[NodeView, ...]
    edges: tuple[EdgeView, ...]
    truncated: bool
