"""docs/errors.md is what the code makes of it, and names every code."""

import pytest

from crossfade_core.errors import CrossfadeError
from infra.docs.errors_page import PAGE, render
from tests.api.test_problems import every_class


def test_the_page_is_the_one_that_the_code_makes():
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs` and commit docs/errors.md"


@pytest.mark.parametrize("kind", [*every_class(CrossfadeError)], ids=lambda kind: kind.__name__)
def test_every_code_has_a_heading_to_link_to(kind):
    assert render().count(f"\n### `{kind.code}`\n") == 1
