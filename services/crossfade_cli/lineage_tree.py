"""Draw what is around a checkpoint: what it was made of above it, what was made of it below."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from crossfade_cli.printing import plain, print_line
from crossfade_cli.tables import stdout_console

if TYPE_CHECKING:
    from crossfade_client.lineage_views import EdgeView, LineageGraphView, MatchView, SightingView

_SHORT_DIGEST = len("sha256:") + 12


class _Branch(NamedTuple):
    """The edges that lead from one checkpoint to one other, newest first: of several roles, or of several jobs."""

    end: str
    edges: Sequence["EdgeView"]

    @property
    def roles(self) -> str:
        """What the source was, in words."""
        return " and ".join(dict.fromkeys(edge.role for edge in self.edges))


class _Direction:
    """One side of a checkpoint, drawn as a tree: a checkpoint that is met again is not drawn twice."""

    def __init__(self, graph: "LineageGraphView", *, is_up: bool) -> None:
        self._is_up = is_up
        self._outputs = {each.uri: each for node in graph.descendants for each in node.sightings}
        self._made = {each.checkpoint: each for node in graph.ancestors for each in node.sightings[::-1] if each.job}
        self._edges: dict[str, dict[str, list[EdgeView]]] = {}
        for edge in graph.edges:
            begin, end = (edge.output, edge.source) if is_up else (edge.source, edge.output)
            self._edges.setdefault(begin, {}).setdefault(end, []).append(edge)
        self._drawn: set[str] = set()

    def tree(self, checkpoint: str) -> Tree | None:
        """Return the tree that begins at a checkpoint; None where nothing is known on that side."""
        if checkpoint not in self._edges:
            return None
        tree = Tree("made of" if self._is_up else "made of it")
        self._grow(tree, checkpoint)
        return tree

    def _grow(self, tree: Tree, checkpoint: str) -> None:
        self._drawn.add(checkpoint)
        for branch in (_Branch(end, edges) for end, edges in self._edges.get(checkpoint, {}).items()):
            label = self._source(branch) if self._is_up else self._output(branch)
            is_known = branch.end in self._drawn
            has_more = branch.end in self._edges
            grown = tree.add(_line(f"{label} (drawn above)" if is_known and has_more else label))
            if not is_known:
                self._grow(grown, branch.end)

    def _source(self, branch: _Branch) -> str:
        uri, made = branch.edges[0].source_uri, self._made.get(branch.end)
        what = "" if made is None else f", {_output_facts(made)}"
        where = "" if made is None or made.uri == uri else f", published as {made.uri}"
        return f"{branch.roles}: {uri}{what}{where}"

    def _output(self, branch: _Branch) -> str:
        newest = branch.edges[0]
        output = self._outputs.get(newest.output_uri)
        name = f"{output.name}: " if output is not None and output.name else ""
        jobs = len({edge.job for edge in branch.edges})
        more = f" and {jobs - 1} more" if jobs > 1 else ""
        return f"{name}λ = {newest.lam!r}, as {branch.roles}, job {newest.job}{more}, {newest.output_uri}"


def print_lineage(graph: "LineageGraphView", console: Console | None = None) -> None:
    """Print the tree of the checkpoint that was found; where there are several, what they are."""
    console = console or stdout_console()
    checkpoints = dict.fromkeys(match.checkpoint for match in graph.matches)
    if len(checkpoints) > 1:
        for match in graph.matches:
            console.print(_line(f"{match.checkpoint[:_SHORT_DIGEST]}…  {_match(match)}"))
        print_line(f"{len(checkpoints)} checkpoints: the URI or the digest of one (--json tells it) shows its tree")
        return
    (checkpoint,) = checkpoints
    above, below = (_Direction(graph, is_up=is_up).tree(checkpoint) for is_up in (True, False))
    console.print(above or "made of nothing that is known here")
    for match in graph.matches:
        console.print(_line(_match(match)), style="bold")
    console.print(_line(checkpoint), style="dim")
    console.print(below or "nothing that is known here was made of it")
    if graph.truncated:
        print_line("there is more than is shown: a greater --depth, or the URI of what is at an end, shows it")


def _match(match: "MatchView") -> str:
    files = f"{', '.join(match.files)} of " if match.files else ""
    return f"{files}{match.uri}, {_output_facts(match) if match.job else 'a source'}"


def _output_facts(output: "SightingView") -> str:
    copy = f", the same as its {output.copy_of}" if output.copy_of else ""
    return f"λ = {output.lam!r} of job {output.job}{copy}"


def _line(words: str) -> Text:
    return Text(plain(words), overflow="fold")
