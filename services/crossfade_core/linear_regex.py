"""Match a stranger's regular expression in bounded time: no backtracking, so that no pattern can stop a service.

Understands what names are matched with: characters, classes, groups, alternatives and repetitions; refuses the rest
(look-around, back references, flags). Tells only whether a whole text matches, as `re.fullmatch` would.

Source: R. Cox, "Regular Expression Matching Can Be Simple And Fast" (2007): Thompson's construction, run on sets.
"""

import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

_MAX_DEPTH: Final = 32
_MAX_STATES: Final = 2_000
_MAX_VISITS: Final = 300_000
"""States made and looked at for one expression, over all texts; a step taken before costs nothing."""

_TOKEN: Final = re.compile(
    r"(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<bar>\|)|(?P<start>\^|\\A)|(?P<end>\$|\\Z)"
    r"|(?P<repeat>(?:[*+?]|\{(?P<low>[0-9]{1,3})(?P<comma>,(?P<high>[0-9]{1,3})?)?\})\??)"
    r"|(?P<one>\\[dDwWsS]|\\[^A-Za-z0-9]|\.|\[\^?(?:\\[dDwWsS]|\\[^A-Za-z0-9]|[A-Za-z0-9_.: -])+\]"
    r"|[^\\\[\](){}|*+?^$.])"
)

_Node: TypeAlias = "tuple[_Node, ...] | _One | _Anchor | _Choice | _Repeat"


@dataclass(frozen=True, slots=True)
class _One:
    """One character that a class or a letter accepts."""

    test: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Anchor:
    is_start: bool


@dataclass(frozen=True, slots=True)
class _Choice:
    options: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    node: _Node
    low: int
    high: int | None


@dataclass(slots=True)
class _State:
    """Reads one character, or holds an anchor, or (neither) goes on to every one of `then` at once."""

    accepts: _One | _Anchor | None
    then: list[int] = field(default_factory=list)


class LinearRegex:
    """A compiled expression; its memory is bounded by its length and by how much matching it is allowed.

    Args:
        pattern: The expression.

    Raises:
        ValueError: It is malformed, or uses what is not understood here; the message says what.
    """

    def __init__(self, pattern: str) -> None:
        self._states, self._visits = [_State(None)], 0
        self._steps: dict[tuple[frozenset[int], str, bool], frozenset[int]] = {}
        begin = self._emit(_Parser(pattern).parse(), 0)
        self._begin = self._closure({begin}, at_start=True, at_end=False)
        self._matches_empty = 0 in self._closure({begin}, at_start=True, at_end=True)

    def matches(self, text: str) -> bool:
        """Tell whether the whole text matches.

        Raises:
            ValueError: The expression has cost too much by now.
        """
        if not text:
            return self._matches_empty
        live = self._begin
        for position, character in enumerate(text, 1):
            step = (live, character, position == len(text))
            found = self._steps.get(step)
            if found is None:
                found = self._steps[step] = self._step(*step)
            live = found
        return 0 in live

    def _step(self, live: frozenset[int], character: str, at_end: bool) -> frozenset[int]:
        self._visit(len(live))
        after = {
            state.then[0]
            for state in (self._states[number] for number in live)
            if isinstance(state.accepts, _One) and state.accepts.test.fullmatch(character)
        }
        return self._closure(after, at_start=False, at_end=at_end)

    def _closure(self, live: set[int], *, at_start: bool, at_end: bool) -> frozenset[int]:
        """Return every state reached without reading a character."""
        seen, waiting = set(live), list(live)
        while waiting:
            state = self._states[waiting.pop()]
            self._visit(1 + len(state.then))
            if isinstance(state.accepts, _Anchor):
                is_open = at_start if state.accepts.is_start else at_end
            else:
                is_open = state.accepts is None
            for number in state.then if is_open else ():
                if number not in seen:
                    seen.add(number)
                    waiting.append(number)
        return frozenset(seen)

    def _visit(self, states: int) -> None:
        self._visits += states
        if self._visits > _MAX_VISITS:
            raise ValueError("takes too long to match")

    def _emit(self, node: _Node, then: int) -> int:
        """Add the states of `node`, after which state `then` follows; return the first of them."""
        self._visit(1)
        if isinstance(node, _One | _Anchor):
            return self._add(node, [then])
        if isinstance(node, _Choice):
            return self._add(None, [self._emit(option, then) for option in node.options])
        if isinstance(node, _Repeat):
            return self._emit_repeat(node, then)
        for part in reversed(node):
            then = self._emit(part, then)
        return then

    def _emit_repeat(self, node: _Repeat, then: int) -> int:
        first = then
        if node.high is None:
            first = self._add(None, [then])
            self._states[first].then.append(self._emit(node.node, first))
        for _ in range((node.high or node.low) - node.low):
            first = self._add(None, [self._emit(node.node, first), then])
        for _ in range(node.low):
            first = self._emit(node.node, first)
        return first

    def _add(self, accepts: _One | _Anchor | None, then: list[int]) -> int:
        if len(self._states) >= _MAX_STATES:
            raise ValueError("is too large")
        self._states.append(_State(accepts, then))
        return len(self._states) - 1


class _Parser:
    """Reads an expression by recursive descent."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at, self._depth = pattern, 0, 0
        self._token = self._read()

    def parse(self) -> _Node:
        node = self._choice()
        if self._token is not None:
            raise ValueError("closes a group it never opened")
        return node

    def _read(self) -> re.Match[str] | None:
        if self._at == len(self._pattern):
            return None
        token = _TOKEN.match(self._pattern, self._at)
        if token is None:
            raise ValueError(f"cannot be read at character {self._at + 1}")
        self._at = token.end()
        return token

    def _kind(self) -> str | None:
        return None if self._token is None else self._token.lastgroup

    def _choice(self) -> _Node:
        options = [self._sequence()]
        while self._kind() == "bar":
            self._token = self._read()
            options.append(self._sequence())
        return options[0] if len(options) == 1 else _Choice(tuple(options))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while (token := self._token) is not None and token.lastgroup not in ("bar", "close"):
            node = self._atom(token)
            is_anchor = isinstance(node, _Anchor)
            if (repeat := self._token) is not None and repeat["repeat"] is not None:
                if is_anchor:
                    raise ValueError("repeats an anchor")
                node = self._repeat(node, repeat)
            parts.append(node)
        return tuple(parts)

    def _atom(self, token: re.Match[str]) -> _Node:
        kind = token.lastgroup
        if token["repeat"] is not None:
            raise ValueError("repeats nothing, or uses a group beginning with '(?'")
        self._token = self._read()
        if kind in ("start", "end"):
            return _Anchor(kind == "start")
        if kind == "one":
            return _One(_compile_class(token[0]))
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"is nested deeper than {_MAX_DEPTH}")
        inner = self._choice()
        if self._kind() != "close":
            raise ValueError("leaves a group open")
        self._token = self._read()
        self._depth -= 1
        return inner

    def _repeat(self, node: _Node, token: re.Match[str]) -> _Node:
        self._token = self._read()
        if self._token is not None and self._token["repeat"] is not None:
            raise ValueError("repeats a repetition")
        sign = token[0][0]
        if sign != "{":
            return _Repeat(node, int(sign == "+"), 1 if sign == "?" else None)
        low = int(token["low"])
        if token["comma"] is None:
            return _Repeat(node, low, low)
        high = None if token["high"] is None else int(token["high"])
        if high is not None and high < low:
            raise ValueError("repeats fewer times than it must")
        return _Repeat(node, low, high)


def _compile_class(text: str) -> re.Pattern[str]:
    """Compile what accepts one character: on a single character `re` cannot backtrack."""
    if "--" in text:  # Python may come to read a difference of sets in it
        raise ValueError("has a class with '--'")
    try:
        return re.compile(text if text[0] in "\\[." else re.escape(text))
    except re.error as error:
        raise ValueError(f"has a class that cannot be read ({error})") from error
