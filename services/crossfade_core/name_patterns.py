"""Match tensor names against patterns with `*` (any run of characters) and `?` (one), however hostile either may be.

One pass over a name matches every pattern at once: a name costs its own length times that of all patterns together, in
machine words, so that no pattern can make a name slow. Regular expressions would not do: `*aaa…b` makes them quadratic.

Source: simulation of a nondeterministic automaton by the bits of a number, Navarro and Raffinot, "Flexible Pattern
Matching in Strings", 2002, chapter 4.
"""

from collections.abc import Sequence
from itertools import accumulate


class NamePatterns:
    """Patterns that names are held against together.

    Every pattern has a bit for each place in it, its end included: set while the name read so far leads there.

    Args:
        patterns: Each of characters that stand for themselves, `*` and `?`.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        sizes = [len(pattern.replace("*", "")) + 1 for pattern in patterns]
        starts = [0, *accumulate(sizes)][: len(sizes)]
        self._begin = sum(1 << start for start in starts)
        self._ends = [1 << start + size - 1 for start, size in zip(starts, sizes, strict=True)]
        self._staying, self._any = 0, 0
        self._leading: dict[str, int] = {}
        for pattern, start in zip(patterns, starts, strict=True):
            self._add(pattern, 1 << start)
        self._leading = {character: places | self._any for character, places in self._leading.items()}

    def matching(self, name: str) -> list[int]:
        """Return the positions of the patterns that match the whole of `name`, in order."""
        places, staying, leading, any_ = self._begin, self._staying, self._leading, self._any
        for character in name:
            places = (places & staying) | (places & leading.get(character, any_)) << 1
        return [number for number, end in enumerate(self._ends) if places & end]

    def _add(self, pattern: str, place: int) -> None:
        for character in pattern:
            if character == "*":
                self._staying |= place
                continue
            if character == "?":
                self._any |= place
            else:
                self._leading[character] = self._leading.get(character, 0) | place
            place <<= 1
