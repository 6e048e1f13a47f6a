"""docs/files.md tells of every file of an output, and its examples are what a merge of the demo pair really writes."""

import base64
import json
import re
import shutil
from pathlib import Path

import pytest

from crossfade_core import own_files
from crossfade_core.lineage import COMPANION_FILES

ROOT = Path(__file__).parents[2]
PAIR = ROOT / "infra" / "demo" / "pair"
PAGE = ROOT / "docs" / "files.md"
SIGNED = {own_files.PROVENANCE_FILE, own_files.SIGNATURE_FILE}
LEFT_OUT = "…"
"""A line of an example that stands for any number of others."""


@pytest.fixture
def output(deployment):
    for side in ("base", "instruct"):
        shutil.rmtree(deployment.models / side)
        shutil.copytree(PAIR / side, deployment.models / side)
    deployment.submit(lambdas=[0.3, 0.6])
    deployment.deliver()
    return deployment.outputs / "instruct-pad-0.3"


def sections():
    """Return each section's text by the name in its heading."""
    parts = re.split(r"^## `(.+)`$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def example(section):
    (found,) = re.findall(r"^```\w*\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [part.strip("\n") for part in re.split(rf"^\s*{LEFT_OUT}$", found, flags=re.MULTILINE)]


def own_names():
    return {value for name, value in vars(own_files).items() if name.endswith("_FILE")}


def test_every_file_that_we_write_has_a_section():
    assert set(sections()) == own_names()


def test_every_file_of_an_output_is_told_of(output):
    told = PAGE.read_text(encoding="utf-8")
    for file in output.iterdir():
        name = re.sub(r"\d{5}", "NNNNN", file.name)
        assert f"`{name}`" in told, f"docs/files.md does not tell of {file.name}"
    assert all(f"`{name}`" in told for name in COMPANION_FILES)


def shown(file):
    """Return what a file's example shows: of a signed one the payload, indented."""
    written = json.loads(file.read_text()) if file.name in SIGNED else None
    if written is None:
        return file.read_text(encoding="utf-8")
    envelope = written.get("dsseEnvelope", written)
    return json.dumps(json.loads(base64.b64decode(envelope["payload"])), indent=2, ensure_ascii=False)


@pytest.mark.parametrize("name", sorted(sections()))
def test_example_is_what_a_merge_writes(output, name):
    written = shown(output / name)
    for part in example(sections()[name]):
        found = written.find(part)
        assert found >= 0, f"{name} holds no longer:\n{part}\n\nbut:\n{written[:4000]}"
        written = written[found + len(part) :]
