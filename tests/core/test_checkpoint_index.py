"""An index is held against the folder and the headers beside it; each disagreement has an error of its own."""

import json

import pytest

from crossfade_core.checkpoint import (
    INDEX_FILE,
    SINGLE_FILE,
    ShardHeader,
    TensorEntry,
    build_layout,
    checkpoint_files,
    parse_index,
)
from crossfade_core.errors import (
    DuplicateKey,
    IndexMalformed,
    IndexMissingFile,
    IndexMissingTensor,
    IndexUnsafePath,
    NoCheckpoint,
    TensorNotIndexed,
)

A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def shard(file, *names):
    tensors = tuple(TensorEntry(name, "U8", (1,), 100 + at, 101 + at) for at, name in enumerate(names))
    return ShardHeader(file, 100 + len(names), 100, tensors)


def index(weight_map):
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()


def test_weight_map_is_read():
    assert parse_index(index({"w": A, "v": B})) == {"w": A, "v": B}


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}', b"\xff", b"NaN", b'{"weight_map":' * 100_000],
)
def test_index_without_a_weight_map_is_refused(raw):
    with pytest.raises(IndexMalformed, match=INDEX_FILE) as caught:
        parse_index(raw)
    assert caught.value.details["file"] == INDEX_FILE


def test_index_with_constants_that_json_does_not_have_is_refused():
    with pytest.raises(IndexMalformed, match="NaN is no JSON"):
        parse_index(b'{"metadata": {"total_size": NaN}, "weight_map": {"w": "model.safetensors"}}')


@pytest.mark.parametrize("target", [None, 1, [A], {"file": A}, True])
def test_index_that_points_to_no_text_is_refused(target):
    with pytest.raises(IndexMalformed, match="'w'") as caught:
        parse_index(index({"w": target}))
    assert caught.value.details == {"file": INDEX_FILE, "tensor": "w"}


@pytest.mark.parametrize("name", ["w\x00", "w\ud800", "n" * 1025])
def test_index_with_a_name_no_header_may_hold_is_refused(name):
    with pytest.raises(IndexMalformed, match=INDEX_FILE):
        parse_index(index({name: A}))


@pytest.mark.parametrize(
    "path",
    [
        "../model.safetensors",
        "../../other-org/private/resolve/main/model.safetensors",
        "..",
        "sub/model.safetensors",
        "./model.safetensors",
        "/etc/model.safetensors",
        "C:\\model.safetensors",
        "..\\model.safetensors",
        "%2e%2e%2fmodel.safetensors",
        "https://example.org/model.safetensors",
        "model.safetensors\x00",
        "model.safetensors\n",
        "model.safetensors?x.safetensors",
        "-model.safetensors",
        ".safetensors",
        ".hidden.safetensors",
        "pytorch_model.bin",
        "model.SAFETENSORS",
        "config.json",
        "",
        "m" * 300 + ".safetensors",
    ],
)
def test_index_that_points_out_of_the_folder_or_to_another_kind_of_file_is_refused(path):
    with pytest.raises(IndexUnsafePath, match="'w'") as caught:
        parse_index(index({"v": A, "w": path}))
    assert caught.value.details == {"file": INDEX_FILE, "tensor": "w"}


def test_index_with_a_tensor_twice_is_refused():
    with pytest.raises(DuplicateKey, match="'w'"):
        parse_index(b'{"weight_map": {"w": "%b", "w": "%b"}}' % (A.encode(), B.encode()))


def test_index_with_two_weight_maps_is_refused():
    with pytest.raises(DuplicateKey, match="'weight_map'"):
        parse_index(b'{"weight_map": {"w": "a.safetensors"}, "weight_map": {"w": "b.safetensors"}}')


def test_indexed_files_are_the_checkpoint_and_others_are_left_alone():
    names = ["README.md", "consolidated.safetensors", B, A, INDEX_FILE]
    assert checkpoint_files(names, {"w": B, "v": A, "u": A}) == (A, B)


def test_lone_safetensors_file_is_the_checkpoint():
    assert checkpoint_files(["config.json", SINGLE_FILE, "pytorch_model.bin"], None) == (SINGLE_FILE,)


def test_missing_shard_is_named():
    with pytest.raises(IndexMissingFile, match=B) as caught:
        checkpoint_files([A, INDEX_FILE], {"w": A, "v": B})
    assert caught.value.details["file"] == B


def test_single_file_beside_an_index_that_does_not_name_it_is_refused():
    with pytest.raises(NoCheckpoint, match=SINGLE_FILE) as caught:
        checkpoint_files([SINGLE_FILE, A, B, INDEX_FILE], {"w": A, "v": B})
    assert caught.value.details["file"] == SINGLE_FILE


def test_single_file_that_its_index_names_is_fine():
    assert checkpoint_files([SINGLE_FILE, INDEX_FILE], {"w": SINGLE_FILE}) == (SINGLE_FILE,)


def test_several_files_without_an_index_are_refused():
    with pytest.raises(NoCheckpoint, match=INDEX_FILE):
        checkpoint_files([A, B], None)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_folder_with_pickle_weights_only_is_told_to_convert(name):
    with pytest.raises(NoCheckpoint, match="pickle") as caught:
        checkpoint_files(["config.json", name], None)
    assert "safe_serialization" in caught.value.message


@pytest.mark.parametrize("names", [[], ["config.json", "README.md"]])
def test_folder_without_weights_is_refused(names):
    with pytest.raises(NoCheckpoint, match=r"no \.safetensors file"):
        checkpoint_files(names, None)


@pytest.mark.parametrize("name", ["-rf.safetensors", "a b.safetensors", "caf\udce9.safetensors", "x\n.safetensors"])
def test_lone_file_of_an_unsafe_name_is_refused_in_words_that_can_be_sent(name):
    with pytest.raises(NoCheckpoint) as caught:
        checkpoint_files([name], None)
    json.dumps(caught.value.as_record(), ensure_ascii=False).encode()


def test_layout_joins_the_shards_in_name_order():
    layout = build_layout([shard(B, "v"), shard(A, "w", "u")], {"w": A, "u": A, "v": B})
    assert [one.file for one in layout.shards] == [A, B]
    assert {name: file for name, (file, _) in layout.tensors.items()} == {"w": A, "u": A, "v": B}
    assert layout.tensors["u"][1].start == 101


def test_layout_of_a_single_file_needs_no_index():
    assert set(build_layout([shard(SINGLE_FILE, "v", "w")], None).tensors) == {"v", "w"}


def test_tensor_in_the_index_but_not_in_its_file_is_refused():
    with pytest.raises(IndexMissingTensor, match=f"{A}.*'ghost'") as caught:
        build_layout([shard(A, "w")], {"w": A, "ghost": A})
    assert caught.value.details == {"file": A, "tensor": "ghost"}


def test_tensor_in_another_file_than_the_index_says_is_refused():
    with pytest.raises(IndexMissingTensor, match=f"{B}.*'w'"):
        build_layout([shard(A, "w"), shard(B, "v")], {"w": B, "v": B})


def test_tensor_in_a_file_but_not_in_the_index_is_refused():
    with pytest.raises(TensorNotIndexed, match=f"{A}.*'extra'") as caught:
        build_layout([shard(A, "w", "extra")], {"w": A})
    assert caught.value.details == {"file": A, "tensor": "extra"}


def test_tensor_in_two_files_is_refused():
    with pytest.raises(TensorNotIndexed, match=f"{B}.*'w'"):
        build_layout([shard(A, "w"), shard(B, "v", "w")], {"w": A, "v": B})
