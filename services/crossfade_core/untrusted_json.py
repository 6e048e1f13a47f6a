"""JSON that a stranger wrote: parsed strictly, shown briefly.

It costs time by its length, and memory of up to some 30 times its length, for that is what Python's objects take
(`{"":0},{"":0},…`): whoever reads a file bounds its bytes first.
"""

import json
import reprlib
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeGuard

from crossfade_core.errors import CheckpointError, DuplicateKey

_MAX_WHOLE: Final = 2**63 - 1
_MAX_NAME_CHARACTERS: Final = 1024


def load_object(raw: bytes, file: str, malformed: type[CheckpointError]) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        CheckpointError: Of class `malformed`: not UTF-8, not JSON, nested too deep, no object, or NaN in it.
        DuplicateKey: A key stands twice, at any depth.
    """
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_keys(file), parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise malformed(f"{file}: its JSON cannot be read ({error}); copy or export it again", file=file) from error
    if not isinstance(document, dict):
        raise malformed(f"{file}: its JSON is no object; copy or export it again", file=file)
    return document


def _unique_keys(file: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for key, value in pairs:
            if key in document:
                raise DuplicateKey(
                    f"{file}: {shown(key)} stands twice; parsers differ in which they take", file=file, key=shown(key)
                )
            document[key] = value
        return document

    return build


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def shown(value: object) -> str:
    """Show a value nobody has checked yet: escaped, and short however long it is."""
    short = reprlib.Repr()
    short.maxstring, short.maxlist = 200, 8
    return short.repr(value)


def listed(names: Collection[str], most: int) -> str:
    """List names whose number a stranger chose: the first in order, and how many more there are."""
    first = ", ".join(sorted(names)[:most])
    return f"{first} and {len(names) - most} more" if len(names) > most else first


def check_names(names: Iterable[str], file: str, malformed: type[CheckpointError]) -> None:
    """Refuse names that JSON can spell but UTF-8, a terminal or a database cannot carry (lone surrogates, NUL, ESC).

    Raises:
        CheckpointError: Of class `malformed`, for the first such name.
    """
    for name in names:
        if len(name) > _MAX_NAME_CHARACTERS or not name.isprintable():
            raise malformed(
                f"{file}: tensor name {shown(name)}; at most {_MAX_NAME_CHARACTERS} printable characters expected",
                file=file,
                tensor=shown(name),
            )


def are_whole(values: object) -> TypeGuard[list[int]]:
    """Tell whether `values` is a list of whole numbers that fit a file offset; true and 2.0 are none."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= _MAX_WHOLE for value in values)
