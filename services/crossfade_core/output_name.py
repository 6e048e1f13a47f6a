"""Names of outputs below a destination: the template of a job, and what a name may hold."""

import re
import string
from typing import Final

from pydantic.config import JsonDict

from crossfade_core.source_ref import parse_source

NAME_FIELDS = ("base", "instruct", "lambda", "job")
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_MAX_NAME_CHARACTERS: Final = 240
"""Of a whole output name: a sink may need it as one component, with room to add to it (NAME_MAX is 255)."""
_FIELD: Final = r"\{(?:base|instruct|lambda|job)\}"
_TEMPLATE_PART: Final = rf"(?:[A-Za-z0-9_]|{_FIELD})(?:[A-Za-z0-9._-]|{_FIELD}){{0,199}}"
TEMPLATE_SCHEMA: Final[JsonDict] = {"pattern": f"^{_TEMPLATE_PART}(?:/{_TEMPLATE_PART}){{0,3}}$"}


def check_output_name(name: str) -> str:
    """Return `name` if it is safe as a path below a destination.

    Raises:
        ValueError: A component is empty, begins with '.' or '-', or holds anything but letters, digits, '.', '_', '-'.
            Or there are more than four, or more than 240 characters in all.
    """
    parts = name.split("/")
    if len(parts) > 4 or len(name) > _MAX_NAME_CHARACTERS or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise ValueError(
            f"output name {name!r}: use at most four parts joined by '/', each of letters, digits, '.', '_' and '-', "
            f"beginning with a letter, digit or '_', {_MAX_NAME_CHARACTERS} characters in all"
        )
    return name


def model_text(source: str) -> str:
    """Return a model's name in characters that an output name may hold: `my model (v2)` becomes `my-model-v2`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", parse_source(source).name).strip("-").lstrip(".-") or "model"


def check_template(template: str) -> str:
    """Return `template` if every name it gives is safe whatever its fields hold.

    Raises:
        ValueError: A field is none of `NAME_FIELDS` or has something added, or the text around them is no safe name.
    """
    try:
        fields = [(name, spec, conv) for _, name, spec, conv in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"output_name {template!r}: {error}") from error
    for name, spec, conversion in fields:
        if name not in NAME_FIELDS or spec or conversion:
            known = ", ".join(f"{{{field}}}" for field in NAME_FIELDS)
            raise ValueError(
                f"output_name {template!r}: a field must be one of {known}, as written here, nothing added"
            )
    check_output_name(template.format_map(dict.fromkeys(NAME_FIELDS, "x")))
    return template
