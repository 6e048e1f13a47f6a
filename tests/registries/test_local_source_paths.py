"""Neither a path nor a symbolic link leads a local source out of its root."""

import pytest

from crossfade_core.errors import PathOutsideRoot
from tests.registries.reading import CONTENT, read


@pytest.mark.parametrize("path", ["../outside", "model/../../outside", "..", "/etc"])
def test_path_that_climbs_out_of_the_root_is_refused(tmp_path, open_model, path):
    (tmp_path / "outside").mkdir()
    with pytest.raises(PathOutsideRoot, match=r"^local://models/"):
        open_model(path)


@pytest.mark.parametrize("target", ["../outside", "../root-of-another"])
def test_folder_that_is_a_link_out_of_the_root_is_refused(tmp_path, root, open_model, target):
    (root / target).mkdir()
    (root / "link").symlink_to(target)
    with pytest.raises(PathOutsideRoot, match="link"):
        open_model("link")


def test_file_that_is_a_link_out_of_the_root_is_refused(tmp_path, root, open_model):
    (tmp_path / "secret").write_bytes(b"x" * 64)
    (root / "model/config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(PathOutsideRoot, match=r"^local://models/model/config\.json: .*link") as caught:
        read(open_model(), "config.json")
    assert caught.value.details == {"source": "local://models/model", "file": "config.json"}


def test_folder_swapped_for_a_link_after_opening_is_not_followed(tmp_path, root, open_model):
    source = open_model()
    (root / "model").rename(tmp_path / "moved")
    (root / "model").symlink_to(tmp_path / "moved")
    with pytest.raises(PathOutsideRoot):
        source.files()
    with pytest.raises(PathOutsideRoot):
        read(source)


def test_links_inside_the_root_work_as_in_a_hub_cache(root, open_model):
    blobs, snapshot = root / "hub/blobs", root / "hub/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "f00d").write_bytes(CONTENT)
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00d")
    source = open_model("hub/snapshots/abc")
    assert source.files()["model.safetensors"].size_bytes == len(CONTENT)
    assert read(source, offset=5, size_bytes=99) == CONTENT[5:104]


def test_root_that_is_itself_a_link_works(tmp_path, root, open_model):
    (tmp_path / "models").symlink_to(root)
    assert read(open_model(root=tmp_path / "models")) == CONTENT[:8]


@pytest.mark.parametrize("file", ["", ".", "..", "../model/model.safetensors", "sub/file", "/etc/passwd"])
def test_file_name_that_is_a_path_is_refused(open_model, file):
    with pytest.raises(PathOutsideRoot, match="no plain file name"):
        read(open_model(), file)
