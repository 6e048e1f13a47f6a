"""What was checked of an output and what came of each check, as rows for people and JSON for machines."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Result = Literal["ok", "failed", "told", "not_checked"]
"""`told` is worth knowing and no failure."""


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


@dataclass
class Report:
    """The checks of one output, in the order in which they were made."""

    checks: list[Check] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return not any(check.result == "failed" for check in self.checks)

    def ok(self, check: str, what: str, message: str) -> None:
        """Note that something is as it must be."""
        self.checks.append(Check(check, what, "ok", message))

    def failed(self, check: str, what: str, message: str) -> None:
        """Note that something is not."""
        self.checks.append(Check(check, what, "failed", message))

    def told(self, check: str, what: str, message: str) -> None:
        """Note what is worth knowing and no failure."""
        self.checks.append(Check(check, what, "told", message))

    def not_checked(self, check: str, what: str, message: str) -> None:
        """Note what could not be checked, and why."""
        self.checks.append(Check(check, what, "not_checked", message))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"verified": self.is_good, "checks": [asdict(check) for check in self.checks]}
