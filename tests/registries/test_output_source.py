"""Which folder is meant by what a user gives as an output: a job's URI, or a path."""

import contextlib
import os

import pytest

from crossfade_core.errors import InvalidSpec, SourceNotFound
from crossfade_registries.output_source import open_output


@pytest.mark.parametrize(
    "given", ["an output", "./an output", "sub/../an output", "{}/an output", "file://{}/an%20output"]
)
def test_folder_is_found_by_path_and_by_uri(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "an output").mkdir()
    (tmp_path / "an output/config.json").write_bytes(b"{}")
    with contextlib.closing(open_output(given.format(tmp_path))) as source:
        assert list(source.files()) == ["config.json"]
        assert source.uri == given.format(tmp_path)


def test_link_to_a_folder_is_followed_as_its_name_says(tmp_path):
    (tmp_path / "output").mkdir()
    os.symlink(tmp_path / "output", tmp_path / "newest")
    with contextlib.closing(open_output(str(tmp_path / "newest"))) as source:
        assert source.files() == {}


def test_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceNotFound, match=str(tmp_path / "gone")):
        open_output(str(tmp_path / "gone"))


@pytest.mark.parametrize("given", ["", "a\0b", "https://example.org/m", "local://models/m", "hf://acme/m@main"])
def test_what_is_neither_is_refused_with_the_forms(given):
    with pytest.raises(InvalidSpec, match="file:///PATH"):
        open_output(given)
