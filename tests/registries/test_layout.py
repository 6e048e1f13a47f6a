"""A pair is planned from headers alone; every malformation surfaces with the source and the file it is in."""

import json
import os
import struct
from pathlib import Path

import pytest

from crossfade_core.errors import (
    BadOffset,
    CheckpointError,
    DataTruncated,
    DuplicateKey,
    HeaderMalformed,
    HeaderTooLarge,
    HeaderTruncated,
    IndexMalformed,
    IndexMissingFile,
    IndexMissingTensor,
    IndexUnsafePath,
    NoCheckpoint,
    PathOutsideRoot,
    PlanRefused,
    ShapeMismatch,
    SourceChanged,
    SourceNotFound,
    TensorHole,
    TensorNotIndexed,
    TensorOverlap,
    TrailingData,
    UnknownDtype,
    UnknownRoot,
)
from crossfade_core.spec import MergeSpec
from crossfade_registries.config import Registries
from crossfade_registries.layout import check_unchanged, files_as_record, files_from_record, plan_spec
from crossfade_registries.settings import RegistrySettings
from tests.fakes.checkpoints import LLAMA_SIZES, random_pair, write_checkpoint
from tests.fakes.source import MemorySource

SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"
TENSOR = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}


@pytest.fixture
def pair(tmp_path: Path):
    """A pair whose instruct has three shards and whose base is one file."""
    return random_pair(tmp_path)


@pytest.fixture
def registries(tmp_path: Path) -> Registries:
    return Registries(RegistrySettings(roots={"models": tmp_path}))


def spec(**fields) -> MergeSpec:
    sides = {"base": "local://models/base", "instruct": "local://models/instruct"}
    return MergeSpec.model_validate({**sides, "lambdas": [0.5], "destination": "out", **fields})


def header(document: object, data: bytes = b"\0" * 4) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_plan_mirrors_the_instructs_files_and_covers_every_tensor(pair, registries):
    plan = plan_spec(spec(), registries.open_source).plan
    assert [shard.file for shard in plan.shards] == sorted(path.name for path in pair.instruct.glob("*.safetensors"))
    assert {row.name for row in plan.rows} == set(LLAMA_SIZES)


@pytest.mark.parametrize("parent", ["instruct", "base"])
def test_plan_pins_what_it_was_made_from_and_what_is_copied_and_nothing_else(pair, registries, parent):
    for folder in pair:
        (folder / "notes.txt").write_bytes(b"mine")
    sourced = plan_spec(spec(tokenizer_from=parent), registries.open_source)
    small = {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    for side, files in sourced.files.items():
        weights = {path.name for path in getattr(pair, side).glob("*.safetensors")}
        consulted = {"config.json", "tokenizer.json", *({INDEX} if len(weights) > 1 else ())}
        assert set(files) == weights | consulted | (small if side == parent else set())
        assert all(info.size_bytes == (getattr(pair, side) / name).stat().st_size for name, info in files.items())


def test_plan_reads_headers_and_closes_what_it_opened(pair):
    sources = {}

    def open_source(uri: str) -> MemorySource:
        folder = getattr(pair, uri.rsplit("/", 1)[-1])
        sources[uri] = MemorySource({path.name: path.read_bytes() for path in folder.iterdir()}, uri)
        return sources[uri]

    plan = plan_spec(spec(), open_source).plan
    assert all(source.is_closed for source in sources.values())
    first_bytes = {(row.base.file, row.base.start) for row in plan.rows}
    for read in sources["local://models/base"].reads:
        assert not any(file == read.file and read.offset + read.size_bytes > start for file, start in first_bytes)


MALFORMED_SHARDS = {
    "too large": (struct.pack("<Q", 100_000_001) + b"{}", HeaderTooLarge),
    "empty": (b"", HeaderTruncated),
    "tiny": (b"\x08\0\0", HeaderTruncated),
    "cut in its header": (struct.pack("<Q", 1000) + b"{}", HeaderTruncated),
    "no JSON": (header(b"{nonsense"), HeaderMalformed),
    "no object": (header([]), HeaderMalformed),
    "duplicate": (header(b'{"a":' + json.dumps(TENSOR).encode() + b',"a":1}'), DuplicateKey),
    "dtype": (header({"a": {**TENSOR, "dtype": "BF17"}}), UnknownDtype),
    "shape": (header({"a": {**TENSOR, "shape": [3]}}), ShapeMismatch),
    "offset": (header({"a": {**TENSOR, "data_offsets": [4, 0]}}), BadOffset),
    "overlap": (header({"a": TENSOR, "b": {**TENSOR, "data_offsets": [2, 6]}}, b"\0" * 6), TensorOverlap),
    "hole": (header({"a": {**TENSOR, "data_offsets": [2, 6]}}, b"\0" * 6), TensorHole),
    "cut in its data": (header({"a": TENSOR}, b"\0" * 3), DataTruncated),
    "trailing": (header({"a": TENSOR}, b"\0" * 5), TrailingData),
}


@pytest.mark.parametrize("side", ["base", "instruct"])
@pytest.mark.parametrize("damage", MALFORMED_SHARDS)
def test_malformed_shard_is_named_with_its_source(tmp_path, registries, side, damage):
    pair = random_pair(tmp_path, base_shards=3)
    raw, error = MALFORMED_SHARDS[damage]
    (getattr(pair, side) / SHARD).write_bytes(raw)
    with pytest.raises(error, match=f"^local://models/{side}: {SHARD}: ") as caught:
        plan_spec(spec(), registries.open_source)
    assert caught.value.details["file"] == SHARD
    assert caught.value.details["source"] == f"local://models/{side}"


MALFORMED_INDEXES = {
    "no JSON": (b"{", IndexMalformed, INDEX),
    "no map": (b"{}", IndexMalformed, INDEX),
    "duplicate": (b'{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}', DuplicateKey, INDEX),
    "climbing": (b'{"weight_map":{"a":"../base/model.safetensors"}}', IndexUnsafePath, INDEX),
    "pickle": (b'{"weight_map":{"a":"model.bin"}}', IndexUnsafePath, INDEX),
    "missing file": (b'{"weight_map":{"a":"absent.safetensors"}}', IndexMissingFile, "absent.safetensors"),
    "missing tensor": (json.dumps({"weight_map": {"absent": SHARD}}).encode(), IndexMissingTensor, SHARD),
    "unlisted tensor": (json.dumps({"weight_map": {"lm_head.weight": SHARD}}).encode(), CheckpointError, SHARD),
}


@pytest.mark.parametrize("damage", MALFORMED_INDEXES)
def test_malformed_index_is_named_with_its_source(pair, registries, damage):
    raw, error, file = MALFORMED_INDEXES[damage]
    (pair.instruct / INDEX).write_bytes(raw)
    with pytest.raises(error, match=r"^local://models/instruct: ") as caught:
        plan_spec(spec(), registries.open_source)
    assert caught.value.details["file"] == file
    assert file in caught.value.message


def test_tensor_that_the_index_leaves_out_is_named(pair, registries):
    index = json.loads((pair.instruct / INDEX).read_bytes())
    file = index["weight_map"].pop("model.norm.weight")
    (pair.instruct / INDEX).write_text(json.dumps(index))
    with pytest.raises(TensorNotIndexed, match=rf"^local://models/instruct: {file}: holds 'model\.norm\.weight'"):
        plan_spec(spec(), registries.open_source)


def test_index_too_large_to_be_one_is_refused_unread(pair, registries):
    os.truncate(pair.instruct / INDEX, 100_000_001)
    with pytest.raises(IndexMalformed, match=rf"^local://models/instruct: {INDEX}: over 100000000 bytes"):
        plan_spec(spec(), registries.open_source)


def test_folder_without_weights_says_so(tmp_path, pair, registries):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoCheckpoint, match=r"^local://models/empty: "):
        plan_spec(spec(base="local://models/empty"), registries.open_source)


@pytest.mark.parametrize(
    ("uri", "error"), [("local://models/absent", SourceNotFound), ("local://other/base", UnknownRoot)]
)
@pytest.mark.parametrize("side", ["base", "instruct"])
def test_source_that_is_not_there_is_named(pair, registries, side, uri, error):
    with pytest.raises(error, match=f"^{uri}: "):
        plan_spec(spec(**{side: uri}), registries.open_source)


def test_pair_that_does_not_pair_is_refused_with_every_tensor(tmp_path, pair, registries):
    write_checkpoint(tmp_path / "other", {"model.norm.weight": ("BF16", (3,), b"\0" * 6)})
    with pytest.raises(PlanRefused, match=r"12 tensor\(s\) cannot be merged") as caught:
        plan_spec(spec(base="local://models/other"), registries.open_source)
    assert {refusal["tensor"] for refusal in caught.value.details["refusals"]} == set(LLAMA_SIZES)


def test_companion_that_cannot_be_copied_later_is_refused_now(tmp_path, pair, registries):
    outside = tmp_path.parent / f"{tmp_path.name}-tokenizer.json"
    outside.write_bytes(b"{}")
    (pair.instruct / "tokenizer.json").unlink()
    (pair.instruct / "tokenizer.json").symlink_to(outside)
    with pytest.raises(PathOutsideRoot, match=r"^local://models/instruct/tokenizer\.json: "):
        plan_spec(spec(), registries.open_source)


def test_unchanged_source_passes_and_other_files_may_change(pair, registries):
    sourced = plan_spec(spec(), registries.open_source)
    (pair.instruct / "README.md").write_bytes(b"new")
    check_unchanged(registries.open_source("local://models/instruct"), sourced.files["instruct"])


@pytest.mark.parametrize("file", [SHARD, "config.json", INDEX])
@pytest.mark.parametrize("is_removed", [False, True])
def test_changed_file_is_named(pair, registries, file, is_removed):
    sourced = plan_spec(spec(), registries.open_source)
    path = pair.instruct / file
    content = path.read_bytes()
    path.unlink()
    if not is_removed:
        path.write_bytes(content + b" ")
    with pytest.raises(SourceChanged, match=f"^local://models/instruct/{file}: changed since .*; submit") as caught:
        check_unchanged(registries.open_source("local://models/instruct"), sourced.files["instruct"])
    assert caught.value.details == {"source": "local://models/instruct", "file": file}


def test_pinned_files_survive_the_store(pair, registries):
    files = plan_spec(spec(), registries.open_source).files["instruct"]
    assert files_from_record(json.loads(json.dumps(files_as_record(files)))) == files
