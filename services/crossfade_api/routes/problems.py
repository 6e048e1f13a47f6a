"""Explain the codes of problems: where the `type` of each leads."""

from itertools import chain
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, HTTPException, Path
from starlette.responses import HTMLResponse, Response

from crossfade_api.problem_pages import ProblemPage, as_html, find_page, problem_pages
from crossfade_api.problems import documented
from crossfade_api.views import View

router = APIRouter(prefix="/problems", tags=["problems"])

Accept = Annotated[str, Header(description="A browser, which names `text/html`, gets a page; all others get JSON.")]
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}, "headers": {"Vary": {"schema": {"type": "string"}}}}
}
_VARY: Final = {"Vary": "Accept"}


class ProblemListView(View):
    """Every code, by branch of the tree of errors."""

    items: list[ProblemPage]


@router.get(
    "", operation_id="list_problems", summary="List all problems", response_model=ProblemListView, responses=_ANSWER
)
def list_problems(response: Response, accept: Accept = "") -> ProblemListView | HTMLResponse:
    """List every code with its meaning and what to do."""
    pages = [*chain.from_iterable(problem_pages().values())]
    if _is_browser(accept):
        return HTMLResponse(as_html("Problems", pages), headers=_VARY)
    response.headers.update(_VARY)
    return ProblemListView(items=pages)


@router.get(
    "/{code}",
    operation_id="get_problem",
    summary="Explain one problem",
    response_model=ProblemPage,
    responses={**_ANSWER, **documented(404)},
)
def get_problem(
    code: Annotated[str, Path(description="The `code` of a problem, or of a job's error.")],
    response: Response,
    accept: Accept = "",
) -> ProblemPage | HTMLResponse:
    """Say when a code happens and what to do."""
    page = find_page(code)
    if page is None:
        raise HTTPException(404, f"there is no problem {code!r}; GET /problems lists those there are")
    if _is_browser(accept):
        return HTMLResponse(as_html(page.title, [page]), headers=_VARY)
    response.headers.update(_VARY)
    return page


def _is_browser(accept: str) -> bool:
    return "text/html" in accept and "json" not in accept
