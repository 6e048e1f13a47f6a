"""Plain output: JSON for machines on stdout, one line for people on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

_MOST_STRAYS: Final = 100


def plain(words: str) -> str:
    """Return a stranger's words with what a terminal would act on shown as its escape."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in words)


def print_warnings(warnings: Mapping[str, Sequence[str]]) -> None:
    """Print what is to be known of each output, by its name, on stderr."""
    for name, of_output in warnings.items():
        for warning in of_output:
            print_line(plain(f"warning: {name}: {warning}"))


def print_strays(names: Sequence[str]) -> None:
    """Print which files lie beside an output's own, on stderr; of very many the first, and how many more."""
    for name in names[:_MOST_STRAYS]:
        print_line(plain(f"{name} is there too, and lineage.json does not tell of it"))
    if len(names) > _MOST_STRAYS:
        print_line(f"{len(names) - _MOST_STRAYS} more are there, of which lineage.json does not tell")


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON document on one line of stdout, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_line(line: str) -> None:
    """Print one line on stderr, where it is in nobody's way."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
