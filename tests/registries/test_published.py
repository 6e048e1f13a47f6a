"""A lineage that anybody may have written tells what to fetch, or is refused before anything is fetched."""

import hashlib

import pytest

from crossfade_core.errors import CheckpointError, OutputNameUnsafe, SourceCorrupted, SourceNotFound
from crossfade_core.ports import StagedFile
from crossfade_registries.published import read_published
from tests.fakes.outputs import lineage_of
from tests.fakes.source import MemorySource

FILES = {"model.safetensors": b"weights", "config.json": b"{}"}


def source(lineage: bytes = b"", **more: bytes) -> MemorySource:
    return MemorySource({**FILES, "lineage.json": lineage or lineage_of(FILES), **more})


def test_files_are_those_of_the_lineage_and_others_are_named():
    published = read_published(source(**{"notes.txt": b"mine", ".gitattributes": b"the Hub's"}))
    assert published.files == {
        name: StagedFile(len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()
    }
    assert published.strays == ("notes.txt",)


def test_folder_without_a_lineage_is_no_output():
    with pytest.raises(SourceNotFound, match=r"no crossfade output, there is no lineage\.json"):
        read_published(MemorySource(FILES))


def test_every_missing_file_is_named():
    told = {name: {"size_bytes": 1, "sha256": "0" * 64} for name in ("b.json", "a.json")}
    with pytest.raises(SourceNotFound, match=r"tells of a\.json, b\.json, which is not there"):
        read_published(source(lineage_of(FILES, **told)))


def test_of_very_many_wrong_files_the_first_are_named_and_the_others_counted():
    told = {f"{number:04}": {"size_bytes": 1, "sha256": "0" * 64} for number in range(3000)}
    with pytest.raises(SourceNotFound, match=r"0018, 0019 and 2980 more, which is not there") as caught:
        read_published(source(lineage_of(FILES, **told)))
    assert len(caught.value.details["files"]) == 20
    with pytest.raises(SourceCorrupted, match=r"0019: 1 bytes expected, 0 found; and 2980 more$"):
        read_published(source(lineage_of(FILES, **told), **dict.fromkeys(told, b"")))


def test_lineage_that_is_too_large_is_refused_unread(monkeypatch):
    monkeypatch.setattr("crossfade_registries.published.MAX_LINEAGE_BYTES", 10)
    large = source()
    with pytest.raises(CheckpointError, match="over 10"):
        read_published(large)
    assert large.read_bytes() == 0


def test_every_file_of_another_size_is_named():
    with pytest.raises(SourceCorrupted, match=r"config\.json: 2 bytes expected, 3 found"):
        read_published(source(**{"config.json": b"{ }"}))


@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "x\0", "\ud800", "lineage.json", "x" * 256]
)
def test_name_that_leaves_the_folder_or_is_none_is_refused(name):
    with pytest.raises(OutputNameUnsafe, match="is no plain file name; nothing was fetched"):
        read_published(source(lineage_of(FILES, **{name: {"size_bytes": 1, "sha256": "0" * 64}})))


@pytest.mark.parametrize(
    "facts",
    [
        [],
        7,
        {"size_bytes": -1, "sha256": "0" * 64},
        {"size_bytes": True, "sha256": "0" * 64},
        {"size_bytes": 1 << 70, "sha256": "0" * 64},
        {"size_bytes": 2},
        {"size_bytes": 2, "sha256": "0" * 63},
        {"size_bytes": 2, "sha256": "Z" * 64},
    ],
)
def test_file_without_size_and_digest_is_refused(facts):
    with pytest.raises(CheckpointError, match=r"lineage\.json: of 'config\.json' it tells no size and SHA-256"):
        read_published(source(lineage_of(FILES, **{"config.json": facts})))


@pytest.mark.parametrize("lineage", [b"{", b"[]", b"{}", b'{"outputs": {}}', b'{"outputs": []}', b'{"a": 1, "a": 2}'])
def test_what_is_no_lineage_is_refused(lineage):
    with pytest.raises(CheckpointError, match=r"lineage\.json: "):
        read_published(source(lineage))


def test_lineage_of_another_digest_than_the_job_shows_is_refused():
    digest = hashlib.sha256(lineage_of(FILES)).hexdigest()
    read_published(source(), digest.upper())
    with pytest.raises(SourceCorrupted, match=f"SHA-256 {digest} expected, [0-9a-f]{{64}} found"):
        read_published(source(lineage_of(FILES) + b" "), digest)
