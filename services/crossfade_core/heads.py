"""Embeddings and output heads: which are tied, and how many rows they have. From headers and configs alone.

A checkpoint ties its head to its embedding when it stores none and its config does not deny it. A head that is stored
is data, whatever a config says: transformers 5 ties only where both are equal (`PreTrainedModel.tie_weights`).
Source of the names: the `_tied_weights_keys` of transformers' models; most use `lm_head`, GPT-NeoX `embed_out`.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from crossfade_core.model_config import is_tied
from crossfade_core.plan import StoredTensor
from crossfade_core.quantisation import Values
from crossfade_core.spec import Role

_HEADS: Final = ("lm_head.weight", "embed_out.weight")
_EMBEDDINGS: Final = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


@dataclass(frozen=True)
class _Tie:
    """One parent's head and embedding, by name; whether they are, or may be, tied; how many rows the embedding has."""

    head: str | None
    embedding: str | None
    is_tied: bool
    may_be_tied: bool
    rows: int | None


@dataclass(frozen=True)
class Heads:
    """What all parents of a job say of their heads. The outputs hold a head of their own where any parent has one."""

    ties: Mapping[Role, _Tie]

    @property
    def head(self) -> str | None:
        """The name of the head that the outputs hold; None where no parent stores one."""
        return next((tie.head for tie in self.ties.values() if tie.head), None)

    def effective(self, tensors: Mapping[str, StoredTensor], role: Role) -> dict[str, StoredTensor]:
        """Return a parent's tensors as a loader sees them: a tied head has the embedding's bytes."""
        tie, head = self.ties[role], self.head
        found = dict(tensors)
        if head is not None and tie.is_tied and tie.embedding is not None:
            embedding = tensors[tie.embedding]
            found[head] = StoredTensor(head, embedding.shape, embedding.bytes)
        return found

    def told(self, name: str) -> str:
        """Return words on a head's tie, beginning with '; ', or nothing."""
        tied = [f"the {role} ties it to {tie.embedding}" for role, tie in self.ties.items() if tie.is_tied]
        return "; " + " and ".join(tied) if tied and name == self.head else ""

    def is_tied_embedding(self, name: str) -> bool:
        """Whether a tensor is the base's embedding and, for all that headers and config tell, its head too."""
        base = self.ties["base"]
        return base.may_be_tied and name == base.embedding

    def are_vocabularies(self, name: str, shapes: Set[tuple[int, ...]]) -> bool:
        """Whether shapes of one tensor differ only as the parents' vocabularies do: in the first dimension."""
        counts = {tie.rows for tie in self.ties.values()}
        is_alike = len({shape[1:] for shape in shapes}) == 1 and all(shapes)
        is_known = name.endswith((*_HEADS, *_EMBEDDINGS)) or {shape[0] for shape in shapes if shape} <= counts
        return is_alike and is_known

    def has_tokens(self, name: str) -> bool:
        """Whether a tensor's rows are tokens, as far as names tell; all may be where no name tells of an embedding."""
        return name.endswith((*_HEADS, *_EMBEDDINGS)) or all(tie.embedding is None for tie in self.ties.values())

    def must_state(self, config: Mapping[str, Any], written: Set[str]) -> bool | None:
        """Return what a config must say of tying where one parent ties and the outputs do not, else None."""
        is_untied = self.head in written and any(tie.is_tied for tie in self.ties.values())
        return False if is_untied and is_tied(config) is not False else None

    def rows_in(self, shapes: Mapping[str, tuple[int, ...]], carried: Role) -> int | None:
        """Return how many rows the outputs' embedding has where that is not the carried parent's count, else None."""
        rows = _count_rows(shapes)
        return None if rows == self.ties[carried].rows else rows


def find_heads(parents: Mapping[Role, tuple[Values, Mapping[str, Any] | None]]) -> Heads:
    """Find every parent's embedding and head.

    Args:
        parents: Tensors and config.json (None where there is none) of each.
    """
    known = {name for values, _ in parents.values() for name in values.tensors if name.endswith(_HEADS)}
    return Heads({role: _tie(values, config, known) for role, (values, config) in parents.items()})


def _tie(values: Values, config: Mapping[str, Any] | None, known: Set[str]) -> _Tie:
    embeddings = [
        name for name, stored in values.tensors.items() if name.endswith(_EMBEDDINGS) and len(stored.shape) == 2
    ]
    heads = [name for name in values.tensors if name.endswith(_HEADS)]
    embedding = embeddings[0] if len(embeddings) == 1 else None
    head = heads[0] if len(heads) == 1 else None
    said = None if config is None else is_tied(config)
    may_be_tied = embedding is not None and not heads and said is not False
    is_tying = may_be_tied and (said is True or bool(known))
    rows = _count_rows({name: values.tensors[name].shape for name in embeddings})
    return _Tie(head, embedding, is_tying, may_be_tied, rows)


def _count_rows(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Return how many rows the embeddings have; None where there is none, or several that do not agree."""
    counts = {shape[0] for name, shape in shapes.items() if name.endswith(_EMBEDDINGS) and len(shape) == 2}
    return counts.pop() if len(counts) == 1 else None
