"""Which token each id means, from a checkpoint's tokenizer files, so that two parents can be held against each other.

Row i of an embedding is worth interpolating only where id i means one token in both parents. Decides which files say
what each id means, and where two parents disagree; how each file is read is `crossfade_core.tokenizer_formats`. Never
says what becomes of a conflict, and never opens a file: bytes come in, records go out.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from crossfade_core.tokenizer_formats import (
    read_added_tokens_decoder,
    read_fairseq,
    read_model,
    read_sentencepiece,
    read_tekken,
    read_tiktoken,
    read_tokenizer_json,
    read_vocab_json,
    read_vocab_txt,
)
from crossfade_core.untrusted_json import shown

_READERS: Final[Mapping[str, Callable[[bytes, str], dict[int, str]]]] = {
    "tokenizer.json": read_tokenizer_json,
    "tekken.json": read_tekken,
    # Before sentencepiece: where both are there (M2M100), the pieces only split text and this one has the ids.
    "vocab.json": read_vocab_json,
    "tokenizer.model": read_model,
    "spiece.model": read_sentencepiece,
    "spm.model": read_sentencepiece,
    "sentencepiece.bpe.model": read_fairseq,
    "tiktoken.model": read_tiktoken,
    "vocab.txt": read_vocab_txt,
}
TOKENIZER_FILES: Final[tuple[str, ...]] = tuple(_READERS)
"""Vocabularies that can be read, the one to prefer first."""

_HOLD_ADDED_TOKENS: Final = frozenset({"tokenizer.json", "tekken.json"})
_ADDED_READERS: Final[Mapping[str, Callable[[bytes, str], dict[int, str]]]] = {
    "added_tokens.json": read_vocab_json,
    # Last, so that it wins: transformers reads no added_tokens.json where this one states the tokens.
    "tokenizer_config.json": read_added_tokens_decoder,
}
ADDED_FILES: Final[tuple[str, ...]] = tuple(_ADDED_READERS)
"""Tokens added beside a vocabulary of the formats that do not hold them themselves."""

_NAMED_CONFLICTS: Final = 5


@dataclass(frozen=True, slots=True)
class TokenConflict:
    """One id that means two tokens: one in the base, another in the instruct."""

    id: int
    base: str
    instruct: str

    def as_record(self) -> dict[str, str]:
        """Return the conflict as text that can be sent anywhere: a token may hold what UTF-8 cannot."""
        return {"id": str(self.id), "base": shown(self.base), "instruct": shown(self.instruct)}


def tokenizer_files(base: Collection[str], instruct: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Choose the files of each parent that `read_vocabulary` needs: a vocabulary of one kind where both have it.

    Two kinds may spell one token in two ways; what differs between them need not be a conflict.

    Args:
        base: Every file name of the base's folder.
        instruct: Every file name of the instruct's folder.

    Returns:
        The base's and the instruct's, or None where one of them has no vocabulary that can be read here.
    """
    kinds = [[file for file in TOKENIZER_FILES if file in names] for names in (base, instruct)]
    if not all(kinds):
        return None
    shared = next((file for file in kinds[0] if file in kinds[1]), None)
    return _with_added(shared or kinds[0][0], base), _with_added(shared or kinds[1][0], instruct)


def read_vocabulary(files: Mapping[str, bytes]) -> dict[int, str] | None:
    """Return the token of every id, from the first of `TOKENIZER_FILES` that is there.

    Args:
        files: Content by file name: a vocabulary, and the `ADDED_FILES` beside it; any others are left alone.

    Returns:
        id → token, or None where no known vocabulary is there. Ids that are reserved but mean nothing are left out.

    Raises:
        TokenizerMalformed: A file is not what its name says, or gives one id to two tokens.
        DuplicateKey: A key stands twice in a JSON file.
    """
    file = next((name for name in TOKENIZER_FILES if name in files), None)
    if file is None:
        return None
    vocabulary = _READERS[file](files[file], file)
    for added in _with_added(file, files)[1:]:
        vocabulary |= _ADDED_READERS[added](files[added], added)
    return vocabulary


def conflicts(base: Mapping[int, str], instruct: Mapping[int, str]) -> list[TokenConflict]:
    """Return the ids that both know by different tokens, in the order of the ids."""
    differing = sorted(id_ for id_, token in base.items() if instruct.get(id_, token) != token)
    return [TokenConflict(id_, base[id_], instruct[id_]) for id_ in differing]


def describe(found: Sequence[TokenConflict], side: str = "instruct") -> str:
    """Word how many ids conflict, and the first five of them; what to do about it is the caller's to say.

    Args:
        found: The conflicts.
        side: What the other parent is called.
    """
    named = "; ".join(
        f"id {one.id} is {shown(one.base)} in the base and {shown(one.instruct)} in the {side}"
        for one in found[:_NAMED_CONFLICTS]
    )
    more = f"; and {len(found) - _NAMED_CONFLICTS} more" if len(found) > _NAMED_CONFLICTS else ""
    return f"{len(found)} id(s) mean two tokens: {named}{more}"


def _with_added(file: str, names: Collection[str]) -> tuple[str, ...]:
    return (file, *(added for added in ADDED_FILES if added in names and file not in _HOLD_ADDED_TOKENS))
