"""docs/reliability.md cites a test behind each promise, and each is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CITED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", (ROOT / "docs/reliability.md").read_text())))


def test_promises_cite_tests():
    assert len(CITED) > 10


@pytest.mark.parametrize(("file", "name"), CITED)
def test_what_is_cited_is_there(file, name):
    text = (ROOT / file).read_text()
    assert not name or f"\ndef {name}(" in text
