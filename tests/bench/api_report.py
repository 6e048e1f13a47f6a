"""The API bench's tables, in Markdown, and its verdict. Measures nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.api_load import Told

P99_GOAL_SECONDS: Final = 0.25
API: Final = "the API, all"


@dataclass(frozen=True)
class Server:
    """What one server did: with requests on schedule, and with as many as it could answer."""

    name: str
    pid: int
    on_schedule: Told
    at_most: Told

    @property
    def most_per_second(self) -> float:
        """The rate it sustains when it is asked as fast as it answers."""
        return self.at_most.answered / self.at_most.elapsed_seconds


def is_met(api: Server) -> bool:
    """Tell whether there was no error at all and the 99th of 100 answers came in time."""
    return not _errors(api) and _at(_all_seconds(api.on_schedule), 0.99) <= P99_GOAL_SECONDS


def report(api: Server, bare: Sequence[Server], database_pid: int | None) -> str:
    """Return the tables: the answers' times, what each server sustains, and the verdict."""
    return "\n\n".join(["\n".join(_times(api, bare)), "\n".join(_rates(api, bare)), *_facts(api, database_pid)])


def _times(api: Server, bare: Sequence[Server]) -> list[str]:
    told = api.on_schedule
    lines = ["| on schedule | requests | errors | p50 | p90 | p99 | max |", "|---|---|---|---|---|---|---|"]
    for kind in sorted({*told.seconds, *told.errors_of}):
        lines.append(_spread(kind, told.seconds.get(kind, []), told.errors_of[kind]))
    lines += [
        _spread(server.name, _all_seconds(server.on_schedule), server.on_schedule.errors.total())
        for server in (api, *bare)
    ]
    return lines


def _rates(api: Server, bare: Sequence[Server]) -> list[str]:
    lines = [
        "| | on schedule | CPU of its process a request | most | the API's most / its |",
        "|---|---|---|---|---|",
    ]
    for server in (api, *bare):
        told = server.on_schedule
        cpu_ms = 1000 * told.cpu_seconds[server.pid] / max(1, told.answered)
        most = server.most_per_second
        lines.append(
            f"| {server.name} | {told.answered / told.elapsed_seconds:.0f}/s | {cpu_ms:.2f} ms | {most:.0f}/s "
            f"| {api.most_per_second / most:.3f} |"
        )
    return lines


def _facts(api: Server, database_pid: int | None) -> list[str]:
    told = api.on_schedule
    busy = {"the API": told.cpu_seconds[api.pid], "the generator": told.own_cpu_seconds}
    if database_pid is not None:
        busy["the database"] = told.cpu_seconds[database_pid]
    shares = ", ".join(f"{who} {seconds / told.elapsed_seconds:.0%}" for who, seconds in busy.items())
    p99 = _at(_all_seconds(told), 0.99)
    facts = [
        f"of a core: {shares}; the generator sent at most {1000 * told.late_seconds:.0f} ms late and opened "
        f"{told.opened} connections",
        f"errors: {_errors(api)} (goal 0, {_word(is_met=not _errors(api))}); p99 {1000 * p99:.0f} ms "
        f"(goal ≤ {1000 * P99_GOAL_SECONDS:.0f} ms, {_word(is_met=p99 <= P99_GOAL_SECONDS)})",
    ]
    both = api.on_schedule.errors + api.at_most.errors
    return [*facts, *(f"- {count} × {what}" for what, count in both.most_common(5))]


def _spread(name: str, seconds: Sequence[float], errors: int) -> str:
    cells = [f"{1000 * _at(seconds, share):.1f} ms" for share in (0.5, 0.9, 0.99, 1.0)]
    return f"| {name} | {len(seconds) + errors} | {errors} | {' | '.join(cells)} |"


def _at(seconds: Sequence[float], share: float) -> float:
    """Return the time within which that share of the answers came; without answers there is none."""
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))] if seconds else float("inf")


def _all_seconds(told: Told) -> list[float]:
    return [second for taken in told.seconds.values() for second in taken]


def _errors(server: Server) -> int:
    return server.on_schedule.errors.total() + server.at_most.errors.total()


def _word(*, is_met: bool) -> str:
    return "met" if is_met else "MISSED"
