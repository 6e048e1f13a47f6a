"""What was checked of an output and what came of each check, as rows for people and JSON for machines.

Strangers choose how many files an output has and how they are called, so a report is bounded: at most 100 rows of one
kind and 2000 characters a text. What is left out is counted.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

Result = Literal["ok", "failed", "told", "not_checked"]
"""`told` is worth knowing and no failure."""

MAX_ROWS: Final = 100
"""Of one kind: of the same check with the same result."""
MAX_CHARACTERS: Final = 2000


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        check: Of which kind: `files`, `signature`, `provenance`, `lambda`, …
        what: The file it is about, or what else.
        result: What came of it.
        message: The same in words.
    """

    check: str
    what: str
    result: Result
    message: str


class Report:
    """The checks of one output, in the order in which they were made."""

    def __init__(self) -> None:
        self._rows: list[Check] = []
        self._made: Counter[tuple[str, Result]] = Counter()

    @property
    def checks(self) -> list[Check]:
        """The rows, and behind them one for each kind of which there are more than are shown."""
        return [
            *self._rows,
            *(
                Check(check, f"{count - MAX_ROWS} more", result, f"like these; {MAX_ROWS} of them are shown")
                for (check, result), count in self._made.items()
                if count > MAX_ROWS
            ),
        ]

    @property
    def counts(self) -> dict[Result, int]:
        """How many checks came to each result, also those that are not shown."""
        return {
            result: sum(count for (_, found), count in self._made.items() if found == result)
            for result in get_args(Result)
        }

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return not self.counts["failed"]

    def ok(self, check: str, what: str, message: str) -> None:
        """Note that something is as it must be."""
        self._add(check, what, "ok", message)

    def failed(self, check: str, what: str, message: str) -> None:
        """Note that something is not."""
        self._add(check, what, "failed", message)

    def told(self, check: str, what: str, message: str) -> None:
        """Note what is worth knowing and no failure."""
        self._add(check, what, "told", message)

    def not_checked(self, check: str, what: str, message: str) -> None:
        """Note what could not be checked, and why."""
        self._add(check, what, "not_checked", message)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"verified": self.is_good, "counts": self.counts, "checks": [asdict(check) for check in self.checks]}

    def _add(self, check: str, what: str, result: Result, message: str) -> None:
        self._made[check, result] += 1
        if self._made[check, result] <= MAX_ROWS:
            self._rows.append(Check(check, _cut(what), result, _cut(message)))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
