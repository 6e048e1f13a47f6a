"""docs/build-type.md, made of the page that the API serves. `python -m infra.docs.build_type_page` writes it."""

from pathlib import Path

from crossfade_api.build_type import build_type_page
from crossfade_core.provenance import BUILD_TYPE_PATH

PAGE = Path(__file__).parents[2] / "docs/build-type.md"


def render() -> str:
    """Return the whole page."""
    page = build_type_page()
    made = f"Made by `make docs`; a running service answers the same under `{BUILD_TYPE_PATH}`."
    head = f"# Build type: {page.title}\n\n{made}"
    rows = "\n".join(f"- `{row.name}`: {row.meaning}" for row in page.parameters)
    return "\n\n".join([head, *page.meaning, "## externalParameters", page.parameters_are, rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
