"""docs/errors.md, made of the tree of errors. `python -m infra.docs.errors_page`, which `make docs` runs, writes it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from crossfade_api.problem_pages import ProblemPage, command_line_pages, problem_pages

PAGE = Path(__file__).parents[2] / "docs/errors.md"

HEAD = """\
# Errors

Made by `make docs` from `crossfade_core/errors.py`; a test holds the two together. A running service answers the same
under `GET /problems` and `GET /problems/CODE`, where the `type` of each problem leads.

Decide by `code`: it is stable, the words of `detail` and `message` are not. An answer of the API is a problem
(RFC 9457, `application/problem+json`) with the status named below; the `error` of a job or an output, and of
`crossfade --json`, has the same `code`, `blame`, `retryable` and `details`. *Blame* says whose move it is: the user's,
the service's, or that of something upstream. *Retryable* says whether the same request, or the same unit of a job, can
succeed later: units are tried again by themselves, requests by their sender, after `Retry-After` seconds where the
answer says so.
"""
COMMAND_LINE = "Of commands of `crossfade`, or of a worker that does not start; they have no HTTP status."


def render() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for branch, pages in problem_pages().items():
        yield _section(branch, [_entry(page, f"HTTP {page.status}; ") for page in pages])
    yield _section("The command line", [f"{COMMAND_LINE}\n", *(_entry(page, "") for page in command_line_pages())])


def _section(heading: str, entries: Sequence[str]) -> str:
    return "\n".join([f"## {heading}\n", *entries])


def _entry(page: ProblemPage, status: str) -> str:
    facts = f"({status}blame: {page.blame}; {'retryable' if page.retryable else 'not retryable'})"
    return f"### `{page.code}`\n\n{page.meaning}\n{page.remedy}\n{facts}\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
