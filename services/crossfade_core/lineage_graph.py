"""The lineage graph: which checkpoint was made of which. A checkpoint is known by what it holds, not by where it lies.

A *sighting* is a checkpoint at a pinned URI, as an output or a source of a job; each output has an *edge* to each of
its sources. Pure: the walk asks for edges, a level at a time; where they are kept is the store's.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

MAX_NODES: Final = 500
"""Most checkpoints that an answer holds on either side, the nearest; those at one distance newest first."""
MAX_EDGES: Final = 2000
"""Most edges on either side: a checkpoint may have been made of the same ones by many jobs."""
MAX_MATCHES: Final = 100
MAX_SIGHTINGS: Final = 10
"""Most sightings shown of one checkpoint, the first ones: every sweep with λ = 0 may make the base once more."""
MAX_DEPTH: Final = 32
DEFAULT_DEPTH: Final = 8

_WEIGHTS: Final = ".safetensors"
_ADAPTER_CONFIG: Final = "adapter_config.json"
_HUB: Final = "hf://"


class SightingKind(StrEnum):
    """What a checkpoint was to the job that tells of it."""

    OUTPUT = "output"
    SOURCE = "source"


@dataclass(frozen=True)
class Sighting:
    """A checkpoint at a pinned URI.

    Attributes:
        id: Hex SHA-256 over where, what files, and of an output whose.
        checkpoint: `checkpoint_digest` of its files.
        kind: Whether a job made it or read it.
        uri: Where, pinned as far as the registry can pin.
        at: When it was published; of a source, when an output of it was for the first time.
        job_id: Of an output its job.
        name: Of an output its place below the destination.
        lam: Of an output its strength.
        copy_of: Of an output the role of the source whose files it equals, as λ = 0 may the base; its weights are of no
            other, so nothing descends along its edges.
    """

    id: str
    checkpoint: str
    kind: SightingKind
    uri: str
    at: datetime
    job_id: str | None = None
    name: str | None = None
    lam: float | None = None
    copy_of: str | None = None


@dataclass(frozen=True)
class Match:
    """A sighting that was asked for; the files of it that have the digest, and of an output its sources' URIs."""

    sighting: Sighting
    files: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """One output made of one source: two checkpoints, where each was, and by which job at what strength."""

    output_id: str
    role: str
    source: str
    source_uri: str
    output: str
    output_uri: str
    job_id: str
    lam: float


@dataclass(frozen=True)
class Node:
    """A checkpoint `level` edges away, with its first sightings of `sighting_count`."""

    checkpoint: str
    level: int
    sighting_count: int
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True)
class LineageGraph:
    """What is known around the checkpoints that were asked for.

    Attributes:
        matches: Where these were seen, the newest first.
        ancestors: What they were made of, the nearest first.
        descendants: What was made of them, the nearest first.
        edges: Between all of these.
        is_truncated: Whether there is more than is told: farther away, or beyond a bound.
    """

    matches: tuple[Match, ...]
    ancestors: tuple[Node, ...]
    descendants: tuple[Node, ...]
    edges: tuple[Edge, ...]
    is_truncated: bool


class LineageStore(Protocol):
    """The graph as it is read; the job store writes to it in the transaction that publishes an output."""

    def of_digest(self, sha256: str, depth: int = DEFAULT_DEPTH) -> LineageGraph:
        """Return what is around the checkpoints that have a digest, or a file with it.

        Args:
            sha256: In lower-case hex: of a file, or as `checkpoint_digest` has it.
            depth: How many edges to follow either way.

        Raises:
            LineageNotFound: No sighting has it.
            StoreUnavailable: The database is away.
        """

    def of_uri(self, uri: str, depth: int = DEFAULT_DEPTH) -> LineageGraph:
        """Return what is around the checkpoints seen at a URI; without a commit of the Hub, at any.

        Raises:
            LineageNotFound: None was.
            StoreUnavailable: The database is away.
        """


def checkpoint_digest(files: Mapping[str, str]) -> str | None:
    """Return the digest of a checkpoint, in hex, from its files' hex SHA-256 by name; None where none is of weights.

    SHA-256 over the sorted digests of what decides the numbers, a line each, whatever the files are called: what
    `sha256sum *.safetensors | cut -d' ' -f1 | sort | sha256sum` prints; of an adapter, its adapter_config.json as well.
    """
    if not any(name.endswith(_WEIGHTS) for name in files):
        return None
    digests = sorted(sha256 for name, sha256 in files.items() if decides_numbers(name))
    return hashlib.sha256("".join(f"{sha256}\n" for sha256 in digests).encode()).hexdigest()


def decides_numbers(name: str) -> bool:
    """Tell whether a file of that name decides a checkpoint's numbers: its weights, and how an adapter is scaled."""
    return name.endswith(_WEIGHTS) or name == _ADAPTER_CONFIG


def place_of(uri: str) -> str:
    """Return a URI without what pins it: a Hub's repository without the commit."""
    return (uri.partition("@")[0] if uri.startswith(_HUB) else uri).rstrip("/")


@dataclass(frozen=True)
class Walk:
    """What a walk found: how far each checkpoint is from where it began, those at 0, and the edges between them."""

    levels: Mapping[str, int]
    edges: Sequence[Edge]
    is_truncated: bool


def walk(
    start: Sequence[str],
    edges_of: Callable[[Sequence[str], int], Sequence[Edge]],
    far_end: Callable[[Edge], str],
    depth: int,
) -> Walk:
    """Walk breadth first along edges, each checkpoint once: what leads back to one that is known ends there.

    Args:
        start: Digests of checkpoints, each once.
        edges_of: Returns edges that begin at any of several checkpoints, at most so many, the same in the same order
            each time.
        far_end: Returns where an edge leads.
        depth: How many edges from the start.
    """
    levels, kept, is_truncated = dict.fromkeys(start, 0), list[Edge](), False
    frontier = list(levels)
    for level in range(1, depth + 1):
        room = MAX_EDGES - len(kept)
        found = edges_of(frontier, room + 1) if frontier else ()
        is_truncated |= len(found) > room
        frontier = []
        for edge in found[:room]:
            end = far_end(edge)
            if end not in levels:
                if len(levels) - len(start) == MAX_NODES:
                    is_truncated = True
                    continue
                levels[end] = level
                frontier.append(end)
            kept.append(edge)
    room = MAX_EDGES - len(kept)
    beyond = edges_of(frontier, room + 1) if frontier and not is_truncated else ()
    among = [edge for edge in beyond if far_end(edge) in levels]
    return Walk(levels, [*kept, *among[:room]], is_truncated or len(beyond) > min(len(among), room))
