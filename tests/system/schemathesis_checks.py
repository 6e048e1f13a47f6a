"""A check beside schemathesis's own, what the schema allows is not refused for its form; and jobs of what is there."""

import re

import schemathesis

from crossfade_core.source_ref import SOURCE_PATTERN

BETWEEN_FIELDS = ("are the same strength", "lies outside 0..1", "too large for float32", "output name", "gives two")
"""Beginnings and parts of what `MergeSpec` says of several fields at once, in arithmetic that JSON Schema has no words
for: strengths that are one in float32, strengths times factors, the length of a name that is filled in."""
OPAQUE = "query/page"
ONE_OF_TWO = {"pointer": "query/digest", "message": "either this or `uri` is expected, not both and not none"}


@schemathesis.check
def allowed_by_schema_is_not_refused_for_its_form(ctx, response, case):
    if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    problem = response.json()
    if problem["code"] != "invalid_spec":
        return
    for error in problem["errors"]:
        is_between = error["pointer"] == "#" and any(part in error["message"] for part in BETWEEN_FIELDS)
        is_said_elsewhere = error["pointer"] == OPAQUE or error == ONE_OF_TWO
        assert is_between or is_said_elsewhere, f"the schema does not say this: {error}"


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    """Let it know that jobs make outputs, whose view has another name than their paths have.

    By the paths it takes `output_name` for the name of an output, and submits nothing at first where nothing makes one.
    """
    views = raw_schema["components"]["schemas"]
    views["Output"] = views.pop("OutputView")
    views["JobView"]["properties"]["outputs"]["items"]["$ref"] = "#/components/schemas/Output"


@schemathesis.hook
def map_body(ctx, body):
    """Have a well-formed spec of folders name those that are there: a made-up one never becomes a job.

    One well-formed value takes the place of another, so that what was to be accepted, or refused, still is.
    """
    if not isinstance(body, dict) or not _is_folder(body.get("base")) or not _is_folder(body.get("instruct")):
        return body
    there = {"base": "local://models/base", "instruct": "local://models/instruct"}
    if re.fullmatch("[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", str(body.get("destination"))):
        there["destination"] = "outputs"
    return {**body, **there}


def _is_folder(value):
    return isinstance(value, str) and not value.startswith("hf:") and re.search(SOURCE_PATTERN, value) is not None
