"""A local source gives exactly the bytes asked for, from below its root and nowhere else, or says what is wrong."""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossfade_core.errors import ShortRead, SourceNotFound
from tests.registries.reading import CONTENT, read


@pytest.mark.parametrize(("offset", "size"), [(0, 8), (0, len(CONTENT)), (99_999, 4), (4097, 65_536), (50, 0)])
def test_read_gives_exactly_the_bytes_asked_for(open_model, offset, size):
    assert read(open_model(), offset=offset, size_bytes=size) == CONTENT[offset : offset + size]


def test_threads_share_a_source(open_model):
    source = open_model()
    together = threading.Barrier(8)

    def work(seed: int) -> bool:
        chance = random.Random(seed)
        together.wait(30)
        ranges = [(chance.randrange(90_000), chance.randrange(1, 10_000)) for _ in range(100)]
        return all(read(source, offset=at, size_bytes=size) == CONTENT[at : at + size] for at, size in ranges)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_close_lets_go_of_every_descriptor(open_model):
    before = len(os.listdir("/proc/self/fd"))
    source = open_model()
    read(source)
    source.files()
    source.close()
    source.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_files_are_the_regular_files_at_the_top_in_name_order(root, open_model):
    model = root / "model"
    (model / "config.json").write_bytes(b"{}")
    (model / "weights.safetensors").mkdir()
    os.mkfifo(model / "pipe.safetensors")
    (model / "dangling.safetensors").symlink_to("nowhere")
    (model / "loop.safetensors").symlink_to("loop.safetensors")
    (model / "through.safetensors").symlink_to("config.json/below")
    (model / "linked.json").symlink_to("config.json")
    files = open_model().files()
    assert list(files) == ["config.json", "linked.json", "model.safetensors"]
    assert [info.size_bytes for info in files.values()] == [2, 2, len(CONTENT)]


def test_folder_that_is_not_there_is_named(open_model):
    with pytest.raises(SourceNotFound, match=r"^local://models/absent: .*No such file") as caught:
        open_model("absent")
    assert caught.value.details["source"] == "local://models/absent"


def test_file_in_a_folders_place_is_no_source(root, open_model):
    with pytest.raises(SourceNotFound, match="Not a directory"):
        open_model("model/model.safetensors")


def test_root_that_is_not_there_is_no_source(tmp_path, open_model):
    with pytest.raises(SourceNotFound):
        open_model("model", root=tmp_path / "absent")


def test_missing_file_is_named(open_model):
    with pytest.raises(SourceNotFound, match=r"^local://models/model/absent\.json: "):
        read(open_model(), "absent.json")


def test_folder_in_a_files_place_is_no_file(root, open_model):
    (root / "model/config.json").mkdir()
    with pytest.raises(SourceNotFound, match="no regular file"):
        read(open_model(), "config.json")


@pytest.mark.timeout(120)
def test_named_pipe_in_a_files_place_is_refused_at_once(root, open_model):
    os.mkfifo(root / "model/config.json")
    with pytest.raises(SourceNotFound, match="no regular file"):
        read(open_model(), "config.json")


def test_folder_without_rights_says_so(open_to_all, unprivileged, open_model):
    (open_to_all / "model").mkdir(mode=0o000)
    with unprivileged, pytest.raises(SourceNotFound, match="Permission denied; check the path and its rights"):
        open_model(root=open_to_all)


def test_file_without_rights_says_so(open_to_all, unprivileged, open_model):
    (open_to_all / "model").mkdir()
    (open_to_all / "model/config.json").touch(0o000)
    source = open_model(root=open_to_all)
    with unprivileged, pytest.raises(SourceNotFound, match=r"config\.json: .*Permission denied"):
        read(source, "config.json")


def test_file_cut_during_the_job_is_a_short_read_with_its_figures(root, open_model):
    source = open_model()
    assert read(source, offset=90_000) == CONTENT[90_000:90_008]
    os.truncate(root / "model/model.safetensors", 90_010)
    with pytest.raises(ShortRead, match="expected 100 bytes at 90000, the file ended after 10; it was cut") as caught:
        read(source, offset=90_000, size_bytes=100)
    assert caught.value.retryable
    assert caught.value.details["file"] == "model.safetensors"


def test_version_stays_while_nobody_writes(open_model):
    source = open_model()
    before = source.files()
    read(source)
    assert source.files() == before


def rewrite_in_place(path: Path) -> None:
    path.write_bytes(CONTENT[::-1])


def rewrite_and_set_the_old_time_again(path: Path) -> None:
    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_another_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(CONTENT[::-1])
    other.rename(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    "change", [rewrite_in_place, rewrite_and_set_the_old_time_again, replace_by_another_file, append]
)
def test_version_changes_with_every_rewrite(root, open_model, change):
    source = open_model()
    before = source.files()["model.safetensors"]
    deadline = time.monotonic() + 10  # a kernel's clock may tick only every few milliseconds
    while source.files()["model.safetensors"].version == before.version:
        assert time.monotonic() < deadline
        change(root / "model/model.safetensors")
