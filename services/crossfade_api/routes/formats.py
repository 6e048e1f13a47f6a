"""Tell what the files of an output mean: the JSON Schema of lineage.json, and the pages that provenance names."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header
from starlette.responses import HTMLResponse, JSONResponse, Response

from crossfade_api.build_type import BuildTypePage, as_html, build_type_page
from crossfade_api.views import View
from crossfade_core.lineage_document import LINEAGE_VERSION, lineage_json_schema
from crossfade_core.provenance import BUILD_TYPE_PATH, BUILDER_PATH

SCHEMA_PATH: Final = f"/schemas/lineage/{LINEAGE_VERSION}"
_SCHEMA_TYPE: Final = "application/schema+json"
_VARY: Final = {"Vary": "Accept"}
_PAGE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}, "headers": {"Vary": {"schema": {"type": "string"}}}}
}

router = APIRouter(tags=["formats"])


class BuilderView(View):
    """What a builder's id stands for."""

    title: str
    meaning: str
    build_types: list[str]


@router.get(
    SCHEMA_PATH,
    operation_id="get_lineage_schema",
    summary="The form of lineage.json",
    response_class=JSONResponse,
    responses={200: {"content": {_SCHEMA_TYPE: {"schema": {"type": "object"}}}}},
)
def get_lineage_schema() -> JSONResponse:
    """Return the JSON Schema (draft 2020-12) of the `lineage.json` that outputs hold."""
    return JSONResponse(lineage_json_schema(), media_type=_SCHEMA_TYPE)


@router.get(
    BUILD_TYPE_PATH,
    operation_id="get_build_type",
    summary="What provenance of a merge means",
    response_model=BuildTypePage,
    responses=_PAGE,
)
def get_build_type(
    response: Response,
    accept: Annotated[str, Header(description="A browser, which names `text/html`, gets a page; others JSON.")] = "",
) -> BuildTypePage | HTMLResponse:
    """Say what the `buildType` of a provenance statement means, and each of its parameters."""
    page = build_type_page()
    if "text/html" in accept and "json" not in accept:
        return HTMLResponse(as_html(page), headers=_VARY)
    response.headers.update(_VARY)
    return page


@router.get(BUILDER_PATH, operation_id="get_builder", summary="Who the builder is")
def get_builder() -> BuilderView:
    """Say what the `builder.id` of a provenance statement stands for."""
    return BuilderView(
        title="The control workers of this crossfade",
        meaning="They plan, publish and sign, and alone hold the signing key; they compute no weights. Whoever trusts "
        "this builder trusts the operator of this deployment, and that its merge workers computed what they were told: "
        "`crossfade rebuild URI --check` tells.",
        build_types=[BUILD_TYPE_PATH],
    )
