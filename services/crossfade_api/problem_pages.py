"""What each error means and what to do about it, read off their tree; for `GET /problems` and docs/errors.md."""

import html
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from pydantic import Field

from crossfade_api.problems import HTTP_PROBLEMS, blame_of, status_of, title_of
from crossfade_api.views import View
from crossfade_core import errors

Kind = type[errors.CrossfadeError]

COMMAND_LINE: Final[frozenset[Kind]] = frozenset(
    {
        errors.ProgramMissing,
        errors.Reported,
        errors.ServiceUnreachable,
        errors.ProcessFailed,
        errors.StateDirInUse,
        errors.WaitTimedOut,
        errors.WebhookUnverified,
        errors.SecretMalformed,
        errors.KeyMalformed,
    }
)
"""What only a command, the client, or a worker that does not start raises: no answer and no job's record holds them."""

_BRANCHES: Final[dict[str, Kind]] = {
    "Checkpoints": errors.CheckpointError,
    "Plans": errors.PlanRefused,
    "Numbers": errors.MergeRefused,
    "Sources": errors.SourceError,
    "Outputs": errors.SinkError,
}


class ProblemPage(View):
    """What one code means."""

    code: str = Field(description="As in a problem, and in the `error` of a job or an output.", examples=["disk_full"])
    title: str = Field(description="The code in words.", examples=["Disk full"])
    status: int = Field(description="The HTTP status of an answer with it.", examples=[503])
    blame: errors.Blame = Field(description="Whose move it is.")
    retryable: bool = Field(description="Whether the same request, or the same unit of a job, can succeed later.")
    meaning: str = Field(description="When it happens.")
    remedy: str = Field(description="What to do.")


@cache
def problem_pages() -> dict[str, list[ProblemPage]]:
    """Return the pages of every code that the API can show, by branch of the tree."""
    branches = {title: [*_tree(root)] for title, root in _BRANCHES.items()}
    filed = COMMAND_LINE.union(*branches.values())
    others = [kind for kind in _tree(errors.CrossfadeError) if kind not in {errors.CrossfadeError, *filed}]
    by_branch = {"Requests, jobs, keys and the service": others, **branches}
    pages = {title: [_page(kind) for kind in kinds] for title, kinds in by_branch.items()}
    return {**pages, "HTTP": _http_pages()}


@cache
def command_line_pages() -> list[ProblemPage]:
    """Return the pages of what only the command line raises; their HTTP status is nobody's."""
    return [_page(kind) for kind in _tree(errors.CrossfadeError) if kind in COMMAND_LINE]


def find_page(code: str) -> ProblemPage | None:
    """Return the page of a code that the API can show."""
    return next((page for pages in problem_pages().values() for page in pages if page.code == code), None)


def as_html(title: str, pages: Iterable[ProblemPage]) -> str:
    """Return pages as one document for a browser."""
    return "".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>',
            "<style>body{max-width:48rem;margin:2rem auto;padding:0 1rem;font-family:sans-serif}</style>",
            *map(_section, pages),
            '<p><a href="/problems">All problems</a></p></html>',
        ]
    )


def _tree(root: Kind) -> Iterator[Kind]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _tree(kind)


def _page(kind: Kind) -> ProblemPage:
    meaning, remedy = _paragraphs(kind)[:2]
    return ProblemPage(
        code=kind.code,
        title=title_of(kind.code),
        status=status_of(kind),
        blame=kind.blame,
        retryable=kind.retryable,
        meaning=meaning,
        remedy=remedy,
    )


def _paragraphs(kind: Kind) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n")]


def _http_pages() -> list[ProblemPage]:
    return [
        ProblemPage(
            code=known.code,
            title=title_of(known.code),
            status=status,
            blame=blame_of(status),
            retryable=False,
            meaning=known.meaning,
            remedy=known.remedy,
        )
        for status, known in HTTP_PROBLEMS.items()
    ]


def _section(page: ProblemPage) -> str:
    retry = "trying again can help" if page.retryable else "trying again does not help"
    facts = f"HTTP {page.status}; whose move: {page.blame}; {retry}"
    return (
        f'<h2 id="{page.code}">{html.escape(page.title)} (<code>{page.code}</code>)</h2><p>{facts}</p>'
        f"<p>{_with_code(page.meaning)}</p><p>{_with_code(page.remedy)}</p>"
    )


def _with_code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
