"""A fetched folder appears whole or not at all; what came before a failure is not fetched again."""

from pathlib import Path

import pytest

from crossfade_core.errors import (
    DiskFull,
    OutputExists,
    OutputNameUnsafe,
    SinkUnavailable,
    SourceCorrupted,
    SourceUnavailable,
)
from crossfade_core.ports import StagedFile
from crossfade_registries.fetched_folder import CHUNK_BYTES, FetchedFolder
from tests.fakes.outputs import OUTPUT_FILES, lineage_of, read_folder, write_output
from tests.fakes.source import MemorySource
from tests.registries.staging import DISK_BYTES

URI = "s3://models/out"
LARGE = "model-00001-of-00002.safetensors"
LINEAGE = lineage_of(OUTPUT_FILES)
WHOLE = {**OUTPUT_FILES, "lineage.json": LINEAGE}


def fetch(out: Path, source: MemorySource, *, overwrite: bool = False, uri: str = URI) -> list[int]:
    """Fetch everything; return what was told of the progress."""
    ticks: list[int] = []
    with FetchedFolder(out, uri, overwrite=overwrite) as folder:
        for name, content in OUTPUT_FILES.items():
            folder.fetch(source, name, StagedFile.of(content), ticks.append)
        folder.commit(LINEAGE, OUTPUT_FILES)
    return ticks


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new folder/mödel"


@pytest.fixture
def source() -> MemorySource:
    return MemorySource(OUTPUT_FILES)


def waiting(out: Path) -> Path:
    """Return the folder that waits to be the output."""
    (found,) = out.parent.glob(".*")
    return found


def cut(out: Path, at: int) -> None:
    """Fetch, and fail at a byte of the large file."""
    source = MemorySource(OUTPUT_FILES)
    source.fail_at(LARGE, at)
    with pytest.raises(SourceUnavailable):
        fetch(out, source)


def test_folder_appears_with_every_file_and_its_lineage(out, source):
    ticks = fetch(out, source)
    assert read_folder(out) == WHOLE
    assert sum(ticks) == sum(map(len, OUTPUT_FILES.values()))
    assert list(out.parent.iterdir()) == [out]
    assert max(read.size_bytes for read in source.reads) == CHUNK_BYTES


def test_nothing_is_visible_before_it_is_whole(out, source):
    with FetchedFolder(out, URI, overwrite=False) as folder:
        folder.fetch(source, LARGE, StagedFile.of(OUTPUT_FILES[LARGE]), lambda _: None)
        assert not out.exists()
        assert not (waiting(out) / "lineage.json").exists()


def test_what_came_before_a_failure_is_not_read_again(out, source):
    cut(out, CHUNK_BYTES + 5)
    assert not out.exists()
    ticks = fetch(out, source)
    assert read_folder(out) == WHOLE
    assert [read.offset for read in source.reads if read.file == LARGE] == [CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert source.expected[0] == (LARGE, CHUNK_BYTES, len(OUTPUT_FILES[LARGE]))
    assert sum(ticks) == sum(map(len, OUTPUT_FILES.values()))


@pytest.mark.parametrize("harm", ["other bytes", "too long"])
def test_what_waits_and_is_wrong_is_fetched_anew(out, source, harm):
    cut(out, CHUNK_BYTES + 5)
    with (waiting(out) / LARGE).open("r+b") as file:
        if harm == "other bytes":
            file.write(b"other bytes")
        else:
            file.truncate(len(OUTPUT_FILES[LARGE]) + 1)
    ticks = fetch(out, source)
    assert read_folder(out) == WHOLE
    assert source.read_bytes(LARGE) >= len(OUTPUT_FILES[LARGE])
    assert sum(ticks) == sum(map(len, OUTPUT_FILES.values()))


def test_of_another_uri_nothing_is_taken_over(out, source):
    cut(out, CHUNK_BYTES + 5)
    fetch(out, source, uri="s3://models/other")
    assert source.read_bytes(LARGE) == len(OUTPUT_FILES[LARGE])


def test_flipped_byte_is_refused_and_nothing_of_the_file_stays(out):
    flipped = bytearray(OUTPUT_FILES[LARGE])
    flipped[9_000_000] ^= 1
    with pytest.raises(SourceCorrupted, match=f"{LARGE}: SHA-256 [0-9a-f]{{64}} expected by lineage.json"):
        fetch(out, MemorySource({**OUTPUT_FILES, LARGE: bytes(flipped)}))
    assert not out.exists()
    assert read_folder(waiting(out)) == {}


def test_file_that_somebody_left_where_it_waits_does_not_come_along(out, source):
    cut(out, 5)
    (waiting(out) / "notes.txt").write_text("mine")
    fetch(out, source)
    assert read_folder(out) == WHOLE


def test_link_where_a_file_waits_is_not_followed(out, source, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    cut(out, 5)
    (waiting(out) / "config.json").symlink_to(mine)
    with pytest.raises(SinkUnavailable, match="symbolic links"):
        fetch(out, source)
    assert mine.read_text() == "mine"


def test_folder_that_exists_is_kept(out, source):
    write_output(out, {"config.json": b"mine"})
    with pytest.raises(OutputExists, match="exists; choose another folder, or --overwrite"):
        fetch(out, source)
    assert source.reads == []
    assert read_folder(out)["config.json"] == b"mine"


def test_earlier_output_is_replaced_in_one_step_where_asked(out, source):
    write_output(out, {"config.json": b"earlier", "old.json": b"{}"})
    fetch(out, source, overwrite=True)
    assert read_folder(out) == WHOLE
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("kind", ["folder", "file", "link to an output"])
def test_what_is_no_output_is_not_replaced(out, source, tmp_path, kind):
    out.parent.mkdir()
    match kind:
        case "folder":
            out.mkdir()
        case "file":
            out.write_text("mine")
        case _:
            out.symlink_to(write_output(tmp_path / "elsewhere", {"config.json": b"mine"}))
    with pytest.raises(OutputNameUnsafe, match="is no earlier output"):
        fetch(out, source, overwrite=True)
    assert source.reads == []


def test_folder_that_is_made_meanwhile_is_kept(out, source):
    with FetchedFolder(out, URI, overwrite=False) as folder:
        out.mkdir()
        with pytest.raises(OutputExists):
            folder.commit(LINEAGE, OUTPUT_FILES)
    assert read_folder(out) == {}


def test_of_two_at_once_the_second_is_refused(out):
    first, second = (FetchedFolder(out, URI, overwrite=False) for _ in range(2))
    with first, pytest.raises(SinkUnavailable, match="another process fetches it"):
        second.__enter__()
    with second:
        pass


def test_full_disk_is_named(small_disk):
    big = bytes(2 * DISK_BYTES)
    with FetchedFolder(small_disk / "out", URI, overwrite=False) as folder, pytest.raises(DiskFull, match="make room"):
        folder.fetch(MemorySource({"big": big}), "big", StagedFile.of(big), lambda _: None)
