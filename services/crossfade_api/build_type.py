"""The page that the `buildType` of a provenance statement names: what its parameters mean and what it vouches for.

The parameters are those of the job's spec, with their own descriptions. Served by routes/formats.py; docs/build-type.md
is made of it.
"""

import html
from typing import Final

from crossfade_api.views import View
from crossfade_core.lineage import CHAIN_FORMULA, FORMULA
from crossfade_core.provenance import ASKED_NOTHING_OF_THE_OUTPUT
from crossfade_core.spec import MergeSpec

MEANING: Final = (
    "Merges two checkpoints tensor by tensor, in float32, rounded once to the dtype of the output: "
    f"{FORMULA}; where the instruct side is a difference of two, {CHAIN_FORMULA}. One job makes one output for every λ "
    "of its sweep in one pass over its inputs; each output has a statement of its own.",
    "The subjects are the files of the output with their SHA-256, all but the model card, which people may edit, and "
    "the two that hold the signatures. "
    "The digests were taken of the bytes as they were written, and no weights were read again.",
    "`resolvedDependencies` are all files that were read, each by role and name (`base/model.safetensors`), where it "
    "was (a package URL with its commit, where it came from a Hub) and its SHA-256. "
    "With them and the parameters the output can be made again, bit for bit: `crossfade rebuild URI --check`.",
    "`builder.id` names the deployment: its control workers, which hold the signing key, plan, publish and sign. The "
    "workers that compute weights hold no key. `urn:crossfade:builders:local` is whoever ran `crossfade merge --sign`, "
    "where one process does both. `builder.version` are the versions that computed. `invocationId` is the "
    "job's id, `startedOn` the time of its submission.",
)
PARAMETERS: Final = (
    "Every parameter is a string: words as they stand, all else as JSON. They are what was asked for, the defaults "
    "written out; fields of a job that change nothing of what is made are left out."
)
_OF_THIS_OUTPUT: Final = "The strength of this output, one of `lambdas`."
_REFERENCE: Final = "B, where the instruct side is a difference `{delta_of: [A, B]}`; `instruct` is A then."
_SKIP: Final = "Of a difference: patterns of the tensors left as the base has them."


class ParameterView(View):
    """One of the external parameters."""

    name: str
    meaning: str


class BuildTypePage(View):
    """What a build type means."""

    title: str
    meaning: list[str]
    parameters_are: str
    parameters: list[ParameterView]


def build_type_page() -> BuildTypePage:
    """Return the page of merges, version 1."""
    fields = {
        name: field.description or ""
        for name, field in MergeSpec.model_fields.items()
        if name not in ASKED_NOTHING_OF_THE_OUTPUT
    }
    meanings = {**fields, "lambda": _OF_THIS_OUTPUT, "reference": _REFERENCE, "skip": _SKIP}
    return BuildTypePage(
        title="crossfade merge, version 1",
        meaning=list(MEANING),
        parameters_are=PARAMETERS,
        parameters=[ParameterView(name=name, meaning=meanings[name]) for name in sorted(meanings)],
    )


def as_html(page: BuildTypePage) -> str:
    """Return the page for a browser."""
    paragraphs = "".join(f"<p>{html.escape(text)}</p>" for text in page.meaning)
    rows = "".join(
        f"<dt><code>{html.escape(row.name)}</code></dt><dd>{html.escape(row.meaning)}</dd>" for row in page.parameters
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(page.title)}</title>'
        "<style>body{max-width:48rem;margin:2rem auto;padding:0 1rem;font-family:sans-serif}</style>"
        f"<h1>{html.escape(page.title)}</h1>{paragraphs}<h2>externalParameters</h2>"
        f"<p>{html.escape(page.parameters_are)}</p><dl>{rows}</dl></html>"
    )
