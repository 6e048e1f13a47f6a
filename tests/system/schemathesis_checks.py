"""A check beside schemathesis's own: what the schema allows is not refused for its form."""

import schemathesis

BETWEEN_FIELDS = ("are the same strength", "lies outside 0..1", "too large for float32", "output name", "gives two")
"""Beginnings and parts of what `MergeSpec` says of several fields at once, in arithmetic that JSON Schema has no words
for: strengths that are one in float32, strengths times factors, the length of a name that is filled in."""
OPAQUE = "query/page"


@schemathesis.check
def allowed_by_schema_is_not_refused_for_its_form(ctx, response, case):
    if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    problem = response.json()
    if problem["code"] != "invalid_spec":
        return
    for error in problem["errors"]:
        is_between = error["pointer"] == "#" and any(part in error["message"] for part in BETWEEN_FIELDS)
        assert is_between or error["pointer"] == OPAQUE, f"the schema does not say this: {error}"
