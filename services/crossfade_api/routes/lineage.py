"""Ask the lineage graph: what is this file, what was it made of, what was made of it?"""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from crossfade_api.auth import Reader
from crossfade_api.dependencies import AdaptersDep
from crossfade_api.lineage_views import LineageGraphView
from crossfade_api.problems import documented
from crossfade_core.json_types import UNSEEN
from crossfade_core.lineage_graph import DEFAULT_DEPTH, MAX_DEPTH, MAX_MATCHES, MAX_NODES, LineageGraph, LineageStore

router = APIRouter(prefix="/v1/lineage", tags=["lineage"])


class LineageQuery(BaseModel):
    """What to look up, by one of the two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str | None = Field(
        default=None,
        pattern=r"^(sha256:)?[0-9a-fA-F]{64}$",
        description="SHA-256 of a file, any file of an output or one that was read of a source; or the `checkpoint` of "
        "an earlier answer.",
        examples=["5a" * 32],
    )
    uri: str | None = Field(
        default=None,
        pattern=f"^[^{UNSEEN}]+$",
        description="Of an output or a source, as a job shows it; of the Hub with the commit, or without any revision "
        "for all commits.",
        examples=["hf://acme/base"],
    )
    depth: int = Field(default=DEFAULT_DEPTH, ge=0, le=MAX_DEPTH, description="How many edges to follow either way.")

    def ask(self, store: LineageStore) -> LineageGraph:
        """Look it up.

        Raises:
            RequestValidationError: Neither of the two is given, or both.
            LineageNotFound: There is no such.
        """
        match self.digest, self.uri:
            case str(digest), None:
                return store.of_digest(digest.removeprefix("sha256:").lower(), self.depth)
            case None, str(uri):
                return store.of_uri(uri, self.depth)
        message = "either this or `uri` is expected, not both and not none"
        raise RequestValidationError([{"type": "one_of", "loc": ("query", "digest"), "msg": message}])


@router.get(
    "",
    operation_id="get_lineage",
    summary="Ask what a file or a checkpoint was made of, and what was made of it",
    description="Look up a checkpoint by the SHA-256 of any file of it, by its own digest or by where it lies, and "
    "follow what it was made of and what was made of it, over every job of this service. A checkpoint is known by what "
    "it holds: an output that was copied elsewhere, and merged again from there, is the same one.\n\n"
    f"Breadth first: at most {MAX_NODES} checkpoints either way, those at one distance the newest first, and "
    f"{MAX_MATCHES} matches; `truncated` says that there is more. All jobs of a base lists `GET /v1/merges`.",
    responses=documented(401, 403, 404, 422, 503),
)
def get_lineage(_: Reader, adapters: AdaptersDep, asked: Annotated[LineageQuery, Query()]) -> LineageGraphView:
    """Look up a checkpoint and what is around it."""
    return LineageGraphView.of(asked.ask(adapters.lineage))
