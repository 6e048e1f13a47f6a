"""Read which licence a source's own card states: `license`, `license_name`, `license_link` of its front matter.

A card is a stranger's: its YAML is read as a stream of events of which only those three keys at the top are kept, so
that no tag, alias or depth of it costs more than its length. What cannot be read states nothing; that is no error.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, MappingStartEvent, ScalarEvent

from crossfade_core.errors import SourceError
from crossfade_core.json_types import is_seen
from crossfade_core.licence import Licence
from crossfade_core.own_files import CARD_FILE
from crossfade_core.ports import FileInfo, Source

MAX_CARD_BYTES: Final = 1_000_000
"""Read of a card at most; the front matter stands at its beginning."""
MAX_FRONT_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 32
_MAX_WORDS: Final = 200
_MAX_LINK: Final = 2000
_MAX_LISTED: Final = 8
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
"""YAML 1.1's spellings of nothing (https://yaml.org/type/null.html)."""
_KEYS: Final = frozenset({"license", "license_name", "license_link"})


def read_licence(source: Source, files: Mapping[str, FileInfo]) -> Licence | None:
    """Return what the card of a source states of its licence; None where it states nothing that can be read.

    Several licences become one, joined by ", ". Reads one MB at most.

    Args:
        source: A checkpoint or an adapter.
        files: What `source.files()` said.

    Raises:
        SourceError: It is to be tried again.

    Source: https://huggingface.co/docs/hub/model-cards#specifying-a-license (form), YAML 1.1.
    """
    if CARD_FILE not in files:
        return None
    card = bytearray(min(files[CARD_FILE].size_bytes, MAX_CARD_BYTES))
    try:
        source.read_into(CARD_FILE, 0, memoryview(card))
    except SourceError as error:
        if error.retryable:
            raise
        return None
    front = _front_matter(bytes(card))
    return None if front is None else _licence(front)


def _front_matter(card: bytes) -> str | None:
    """Return what stands between the first two lines of `---`; None where it is not there, not text, or too long."""
    first, *lines = card.removeprefix(b"\xef\xbb\xbf").lstrip()[:MAX_FRONT_BYTES].splitlines() or [b""]
    try:
        end = [line.rstrip(b" \t") for line in lines].index(b"---")
        return b"\n".join(lines[:end]).decode() if first == b"---" else None
    except ValueError:
        return None


def _licence(front: str) -> Licence | None:
    try:
        stated = _stated(front)
    except (yaml.YAMLError, ValueError):
        return None
    words, names, links = (stated.get(key, []) for key in ("license", "license_name", "license_link"))
    if not 0 < len(words) <= _MAX_LISTED or not all(map(_is_words, [*words, *names])):
        return None
    link = links[0] if len(links) == 1 and len(links[0]) <= _MAX_LINK and is_seen(links[0]) else None
    return Licence(", ".join(words), names[0] if len(names) == 1 else None, link)


def _is_words(text: str) -> bool:
    return len(text) <= _MAX_WORDS and is_seen(text)


def _stated(front: str) -> dict[str, list[str]]:
    """Return the texts under each of the three keys.

    Raises:
        ValueError: It is no mapping, or holds an alias, a key twice, or what is nested too deep.
        yaml.YAMLError: It is no YAML.
    """
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    events = iter(yaml.parse(front, Loader=loader))
    # Behind the stream's own start and the document's.
    if not isinstance(next(itertools.islice(events, 2, None), None), MappingStartEvent):
        raise ValueError("no mapping")
    stated: dict[str, list[str]] = {}
    for key in events:
        if isinstance(key, CollectionEndEvent):
            break
        name = _texts(key, events)
        value = _texts(next(events), events)
        if len(name) == 1 and name[0] in _KEYS:
            if name[0] in stated:
                raise ValueError(f"{name[0]} stands twice")
            stated[name[0]] = value
    return stated


def _texts(event: Event, events: Iterator[Event]) -> list[str]:
    """Take one node of the stream; return its text, or those listed in it: none of a null or anything deeper.

    Raises:
        ValueError: An alias, too deep, or too many.
    """
    depth, texts, is_mapping = 0, list[str](), isinstance(event, MappingStartEvent)
    while True:
        if isinstance(event, AliasEvent) or depth > _MAX_DEPTH:
            raise ValueError("an alias, or too deep")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if isinstance(event, ScalarEvent) and depth <= 1 and not (event.implicit[0] and event.value in _NULLS):
            texts = [*texts, event.value][: _MAX_LISTED + 1]
        if depth == 0:
            return [] if is_mapping else texts
        event = next(events)
