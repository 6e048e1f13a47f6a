"""Put words that strangers wrote into Markdown so that they stay words: no markup, no link, no broken table. Pure."""

import html
import re
from collections.abc import Sequence
from typing import Final

_MARKUP: Final = re.compile(r"([\\`*\[\]<>|&~$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:)/|(?<=www)\.)")
"""What CommonMark and GitHub's dialect read as markup, or make a link of by itself, inside a line."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9./:@+_ -]*")
_ENTITIES: Final = {ord(sign): f"&#{ord(sign)};" for sign in "|`*_[]\\~$:@"}


def plain(text: str) -> str:
    """Escape a text that stands among words."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Set a text in type; one with signs that could end that is written in HTML, with entities for them."""
    if _PLAIN.fullmatch(text):
        return f"`{text}`"
    return f"<code>{html.escape(' '.join(text.split())).translate(_ENTITIES)}</code>"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
