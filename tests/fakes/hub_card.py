"""What the Hub of the tests demands of the YAML at the head of a README.md.

Source: https://github.com/huggingface/hub-docs/blob/main/modelcard.md and what `POST /api/validate-yaml` answers.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_RELATIONS = ("adapter", "merge", "quantized", "finetune")
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def read_card(content: str) -> dict[str, Any]:
    """Return the metadata of a card; empty where it has none that can be read."""
    try:
        data = yaml.safe_load(_front_matter(content) or "")
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def validate_card(content: str) -> tuple[list[str], list[str]]:
    """Return what is wrong with a card's metadata, and what deserves a warning."""
    text = _front_matter(content)
    if text is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"YAML Metadata Error: {error}"], []
    if not isinstance(data, dict):
        return ["YAML Metadata Error: a mapping was expected"], []
    wrong = [(key, wish) for key, (is_valid, wish) in _RULES.items() if key in data and not is_valid(data[key])]
    return [f'"{key}" with value {data[key]!r} is not valid: it must be {wish}' for key, wish in wrong], []


def _front_matter(content: str) -> str | None:
    found = _FRONT_MATTER.match(content)
    return found[1] if found else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_licence(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", value) is not None


def _is_model_id(value: object) -> bool:
    return isinstance(value, str) and _MODEL_ID.fullmatch(value) is not None


def _one_or_more(is_valid: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: all(map(is_valid, value)) if isinstance(value, list) else is_valid(value)


def _list_of(is_valid: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(is_valid, value))


_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "base_model": (_one_or_more(_is_model_id), "the id of a model, or a list of such"),
    "base_model_relation": (lambda value: value in _RELATIONS, f"one of {', '.join(_RELATIONS)}"),
    "license": (_one_or_more(_is_licence), "the id of a licence, in lower case"),
    "license_name": (_is_text, "a string"),
    "license_link": (_is_text, "a string"),
    "library_name": (_is_text, "a string"),
    "pipeline_tag": (_is_text, "a string"),
    "language": (_one_or_more(_is_text), "a string, or a list of such"),
    "tags": (_list_of(_is_text), "a list of strings"),
    "datasets": (_one_or_more(_is_model_id), "the id of a dataset, or a list of such"),
    "metrics": (_list_of(_is_text), "a list of strings"),
    "model-index": (_list_of(lambda value: isinstance(value, dict)), "a list of results"),
}
