"""Plain output: JSON for machines on stdout, one line for people on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON document on one line of stdout, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_line(line: str) -> None:
    """Print one line on stderr, where it is in nobody's way."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
