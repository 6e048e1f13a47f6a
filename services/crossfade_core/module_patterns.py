r"""Find the value that patterns give a module's name, as PEFT's rank_pattern and alpha_pattern do.

The first pattern that matches the whole name, or its end after a dot, decides. Patterns come from strangers, so none of
them is given to a matcher that backtracks. Plain names, of which adapters have one for each module, are looked up.

Source: peft 0.21, utils/other.py `get_pattern_key`: re.match(rf"(.*\.)?({pattern})$", name).
"""

import re
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from crossfade_core.linear_regex import LinearRegex
from crossfade_core.untrusted_json import shown

_MAX_EXPRESSIONS: Final = 32
_MAX_CHARACTERS: Final = 1024
_PLAIN: Final = re.compile(r"(?P<anchor>\^?)(?P<name>[A-Za-z0-9_-]+(?:\\?\.[A-Za-z0-9_-]+)*)\$?")

Value = TypeVar("Value")


class ModulePatterns(Generic[Value]):
    """Values by pattern. A dot in a plain name is taken as a dot, where PEFT's would also match any other character.

    Args:
        values: The value of every pattern, in the order they are tried.

    Raises:
        ValueError: A pattern cannot be matched in bounded time, or there are too many that are no plain names; the
            message says which.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = list(values.values())
        self._ends: dict[str, int] = {}
        self._wholes: dict[str, int] = {}
        self._expressions: list[tuple[int, str, LinearRegex]] = []
        for number, pattern in enumerate(values):
            plain = _PLAIN.fullmatch(pattern)
            if plain is None:
                self._expressions.append((number, pattern, _compile(pattern, len(self._expressions))))
            else:
                names = self._wholes if plain["anchor"] else self._ends
                names.setdefault(plain["name"].replace("\\", ""), number)

    def find(self, module: str) -> Value | None:
        """Return the value of the first pattern that matches `module`, or None.

        Raises:
            ValueError: A pattern takes too long to match.
        """
        hits = [self._ends[end] for end in _ends(module) if end in self._ends] if self._ends else []
        hits += [self._wholes[module]] if module in self._wholes else []
        first = min(hits, default=len(self._values))
        for number, pattern, expression in self._expressions:
            if number > first:
                break
            try:
                if expression.matches(module):
                    return self._values[number]
            except ValueError as error:
                raise ValueError(f"pattern {shown(pattern)} {error}") from error
        return self._values[first] if hits else None


def _compile(pattern: str, count: int) -> LinearRegex:
    if count == _MAX_EXPRESSIONS:
        raise ValueError(f"more than {_MAX_EXPRESSIONS} patterns are no plain names")
    if len(pattern) > _MAX_CHARACTERS:
        raise ValueError(f"pattern {shown(pattern)} has more than {_MAX_CHARACTERS} characters")
    try:
        return LinearRegex(rf"(.*\.)?({pattern})$")
    except ValueError as error:
        raise ValueError(f"pattern {shown(pattern)} {error}") from error


def _ends(module: str) -> list[str]:
    """Return the name, and what follows each of its dots."""
    return [module, *(module[place + 1 :] for place, character in enumerate(module) if character == ".")]
