"""An output is made again bit for bit from what its lineage pins; what is not as it was is named."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crossfade_core.errors import Reported
from crossfade_engine import merge_shard
from crossfade_worker.stream_shard import software
from tests.architectures.merging import merge
from tests.fakes.checkpoints import LLAMA_SIZES, Pair, encode_floats, random_pair, write_checkpoint
from tests.worker.rebuilds import assert_reproduced, edit_lineage, flip, rebuild

SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
SPECS: dict[str, dict[str, Any]] = {
    "plain": {},
    "base's words": {"tokenizer_from": "base"},
    "to float32": {"out_dtype": "float32"},
    "to float16": {"out_dtype": "float16"},
    "by chance": {"rounding": "stochastic", "seed": 7},
    "sampled": {"statistics": "sampled"},
    "beyond": {"lambdas": [-0.5, 1.5], "allow_extrapolation": True},
    "by a schedule": {
        "schedule": [
            {"pattern": "*mlp*", "factor": 0.5},
            {"pattern": "*self_attn*", "gradient": [0.2, 1.0]},
            {"pattern": "*", "factor": 0.9},
        ]
    },
}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return random_pair(tmp_path, base_shards=2, instruct_shards=3)


@pytest.fixture
def output(pair: Pair, tmp_path: Path) -> Path:
    return merge(*pair, tmp_path / "out", lambdas=[0.25, 0.5]).folders[0.5]


def lengthen(folder: Path, file: str) -> None:
    (folder / file).write_bytes((folder / file).read_bytes() + b"\n")


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_every_output_of_a_sweep_is_reproduced(tmp_path, spec, dtype):
    pair = random_pair(tmp_path, base_shards=None, instruct_shards=2, dtype=dtype)
    merged = merge(*pair, tmp_path / "out", **SPECS[spec])
    for lam, folder in merged.folders.items():
        found = assert_reproduced(folder)
        assert (found["lambda"], found["tensors"]) == (lam, len(LLAMA_SIZES))


def test_what_was_compared_and_what_was_not_is_told(output):
    found = assert_reproduced(output)
    lineage = json.loads((output / "lineage.json").read_bytes())
    compared = {about.pop("name"): about for about in found["files"]}
    assert compared.keys() >= {*SHARDS, "model.safetensors.index.json", "config.json", "tokenizer.json"}
    assert compared == {name: about for name, about in lineage["outputs"].items() if name in compared}
    assert {*compared, *found["not_compared"]} == {*lineage["outputs"], "lineage.json"}
    assert {"README.md", "lineage.json"} <= set(found["not_compared"])
    assert found["strays"] == []
    assert found["input_files"] == sum(len(side["files"]) for side in lineage["inputs"].values())
    assert found["software"] == {"then": [software()], "now": software(), "is_other": False}


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_number_of_threads_does_not_matter(output, threads):
    assert_reproduced(output, threads=threads)


def test_size_of_chunks_does_not_matter(output, monkeypatch):
    monkeypatch.setattr(merge_shard, "MAX_CHUNK_BYTES", 4096)
    assert_reproduced(output)


def test_nothing_is_written(output, tmp_path):
    def listing() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = listing()
    assert_reproduced(output)
    assert listing() == before


def test_output_of_a_service_is_reproduced_where_its_roots_lie_elsewhere(deployment, tmp_path):
    job = deployment.submit(lambdas=[0.0, 0.5], labels={"team": "größer"}, rounding="stochastic")
    deployment.deliver()
    moved = shutil.move(deployment.models, tmp_path / "elsewhere")
    for output in deployment.store.list_outputs(job.id):
        assert_reproduced(output.uri, roots={"models": str(moved)})


def test_root_that_nobody_gave_is_named_with_the_way_out(deployment):
    job = deployment.submit(lambdas=[0.5])
    deployment.deliver()
    (output,) = deployment.store.list_outputs(job.id)
    with pytest.raises(Reported, match=r"--root models=DIR.* or give another copy .* --source") as caught:
        rebuild(output.uri)
    assert caught.value.code == "unknown_root"


def test_where_each_input_was_opened_is_told(output, pair, tmp_path):
    told = {role: f"local://filesystem{getattr(pair, role)}" for role in ("base", "instruct")}
    found = assert_reproduced(output)["inputs"]
    assert found == {role: {"uri": uri, "opened": str(getattr(pair, role)), "by": None} for role, uri in told.items()}
    edit_lineage(output, lambda lineage: lineage["inputs"]["base"].update(uri="local://models/base"))
    copy = shutil.copytree(pair.instruct, tmp_path / "a copy")
    found = assert_reproduced(output, roots={"models": str(tmp_path)}, sources={"instruct": str(copy)})["inputs"]
    assert found == {
        "base": {"uri": "local://models/base", "opened": str(tmp_path / "base"), "by": "root"},
        "instruct": {"uri": told["instruct"], "opened": str(copy), "by": "source"},
    }


def test_where_each_input_was_opened_is_told_of_one_that_was_changed_too(output, pair):
    flip(pair.base / "model-00001-of-00002.safetensors")
    found = rebuild(output)
    assert (found["cause"], found["inputs"]["base"]["opened"]) == ("input", str(pair.base))


def test_source_may_be_another_copy(output, pair, tmp_path):
    moved = shutil.move(pair.base, tmp_path / "a copy")
    with pytest.raises(Reported, match="cannot be opened as a folder"):
        rebuild(output)
    assert_reproduced(output, sources={"base": str(moved)})


def test_copy_that_is_another_model_is_named_as_such(output, tmp_path):
    other = random_pair(tmp_path / "other", seed=1, base_shards=2, instruct_shards=3)
    found = rebuild(output, sources={"base": str(other.base)})
    assert (found["reproduced"], found["cause"]) == (False, "input")
    assert f"{other.base}/model-00001-of-00002.safetensors, of the base, is not the file" in found["message"]


@pytest.mark.parametrize("side", ["base", "instruct"])
def test_one_changed_element_of_an_input_names_the_input_file(output, pair, side):
    file = getattr(pair, side) / ("model-00002-of-00002.safetensors" if side == "base" else SHARDS[1])
    pinned = hashlib.sha256(file.read_bytes()).hexdigest()
    flip(file)
    found = rebuild(output)
    assert (found["reproduced"], found["cause"], found["difference"]) == (False, "input", None)
    assert f"{file}, of the {side}, is not the file that was merged" in found["message"]
    assert pinned in found["message"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() in found["message"]


def test_input_that_is_not_a_number_any_more_is_named_before_the_refusal(output, pair):
    nan = bytearray((pair.base / "model-00001-of-00002.safetensors").read_bytes())
    nan[-2:] = encode_floats("BF16", [float("nan")])
    (pair.base / "model-00001-of-00002.safetensors").write_bytes(nan)
    found = rebuild(output)
    assert (found["cause"], "of the base" in found["message"]) == ("input", True)


@pytest.mark.parametrize("side", ["base", "instruct"])
def test_input_that_is_longer_or_gone_is_named_before_anything_is_read(output, pair, side):
    (file,) = getattr(pair, side).glob("model-00001*")
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    found = rebuild(output)
    assert f"{len(content)} bytes of SHA-256" in found["message"]
    assert f"pinned, {len(content) + 1} bytes found" in found["message"]
    file.unlink()
    assert f"{file.name}, of the {side}" in (found := rebuild(output))["message"]
    assert "no such file found" in found["message"]


def test_input_that_no_tensor_was_read_of_is_held_against_its_digest_too(output, pair):
    flip(pair.instruct / "chat_template.jinja")
    found = rebuild(output)
    assert (found["cause"], "chat_template.jinja, of the instruct" in found["message"]) == ("input", True)


def test_one_flipped_bit_of_a_shard_names_tensor_and_element(output):
    flip(output / SHARDS[1], -4)
    found = rebuild(output)
    assert (found["reproduced"], found["cause"]) == (False, "published")
    assert f"{SHARDS[1]} is damaged" in found["message"]
    difference = found["difference"]
    assert (difference["file"], difference["tensor"]) == (SHARDS[1], "model.norm.weight")
    assert (difference["dtype"], difference["shape"], difference["element"]) == ("BF16", [16], 14)
    published, rebuilt = (int(difference[side].split("0x")[1].rstrip(")"), 16) for side in ("published", "rebuilt"))
    assert published ^ rebuilt == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_first_of_several_differences_is_the_one_that_is_named(pair, tmp_path, dtype):
    output = merge(*pair, tmp_path / "out", lambdas=[0.5], out_dtype=dtype).folders[0.5]
    size_bytes = (output / SHARDS[2]).stat().st_size
    for offset in (size_bytes - 1, size_bytes - 1000, size_bytes // 2):
        flip(output / SHARDS[2], offset)
    header = json.loads((output / SHARDS[2]).read_bytes()[8:].split(b"}}")[0] + b"}}")
    start = int.from_bytes((output / SHARDS[2]).read_bytes()[:8], "little") + 8
    (name,) = (
        name
        for name, tensor in header.items()
        if name != "__metadata__" and tensor["data_offsets"][0] <= size_bytes // 2 - start < tensor["data_offsets"][1]
    )
    found = rebuild(output)["difference"]
    itemsize = 4 if dtype == "float32" else 2
    begin = start + header[name]["data_offsets"][0]
    assert (found["tensor"], found["element"]) == (name, (size_bytes // 2 - begin) // itemsize)


def test_bit_of_an_integer_tensor_is_told_in_hex(tmp_path):
    sides = []
    for side in ("base", "instruct"):
        tensors = {
            "ids": ("I64", (3,), b"".join(number.to_bytes(8, "little") for number in (1, 2, 3))),
            "weight": ("F32", (2,), encode_floats("F32", [1.0, 2.0])),
        }
        sides.append(write_checkpoint(tmp_path / side, tensors))
    output = merge(*sides, tmp_path / "out", lambdas=[0.5]).folders[0.5]
    assert_reproduced(output)
    shard = output / "model.safetensors"
    flip(shard, shard.read_bytes().index((2).to_bytes(8, "little")))
    found = rebuild(output)["difference"]
    assert (found["tensor"], found["element"]) == ("ids", 1)
    assert (found["published"], found["rebuilt"]) == ("0x0000000000000003", "0x0000000000000002")


def test_header_that_was_spelt_otherwise_is_named(output):
    shard = output / SHARDS[0]
    shard.write_bytes(shard.read_bytes().replace(b'"pt"', b'"np"'))
    found = rebuild(output)
    assert (found["cause"], found["difference"]["file"]) == ("published", SHARDS[0])
    assert "its published header is spelt otherwise" in found["message"]


def test_tensor_that_was_renamed_in_the_header_is_named(output):
    shard = output / SHARDS[1]
    shard.write_bytes(shard.read_bytes().replace(b"model.norm.weight", b"model.form.weight"))
    assert "tensor 'model.norm.weight' is rebuilt and not in the published header" in rebuild(output)["message"]


def test_header_that_cannot_be_read_is_named(output):
    shard = output / SHARDS[1]
    shard.write_bytes(b"\xff" + shard.read_bytes()[1:])
    found = rebuild(output)
    assert (found["cause"], found["difference"]["file"]) == ("published", SHARDS[1])
    assert "its header cannot be read" in found["message"]


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_swapped_small_file_is_named(output, file):
    content = (output / file).read_bytes()
    (output / file).write_bytes(
        content.replace(b"word", b"ward").replace(b"16", b"17").replace(b"model.norm", b"model.form")
    )
    found = rebuild(output)
    assert (found["cause"], found["difference"]["file"]) == ("published", file)
    assert f"{file} is damaged" in found["message"]
    lengthen(output, file)
    with pytest.raises(Reported, match=file):
        rebuild(output)


def test_missing_file_is_named(output):
    (output / SHARDS[2]).unlink()
    with pytest.raises(Reported, match=SHARDS[2]):
        rebuild(output)


def test_edited_strength_makes_the_first_tensor_differ(output):
    def edit(lineage: dict[str, Any]) -> None:
        lineage["lambda"] = 0.75
        lineage["spec"]["lambdas"] = [0.25, 0.75]

    edit_lineage(output, edit)
    found = rebuild(output)
    assert (found["reproduced"], found["cause"]) == (False, "computation")
    assert (found["difference"]["file"], found["difference"]["element"]) == (SHARDS[0], 0)
    assert "though every input is the one that lineage.json pins" in found["message"]


@pytest.mark.parametrize(
    ("field", "value", "cause", "named"),
    [
        ("out_dtype", "float32", "computation", "model.safetensors.index.json"),
        ("rounding", "stochastic", "computation", SHARDS[0]),
        ("tokenizer_from", "base", "lineage", "base/chat_template.jinja"),
    ],
)
def test_edited_spec_is_found_out(output, field, value, cause, named):
    edit_lineage(output, lambda lineage: lineage["spec"].update({field: value}))
    found = rebuild(output)
    assert (found["cause"], found["reproduced"]) == (cause, False)
    assert named in found["message"]


def test_other_dtype_of_a_model_in_one_file_is_found_in_its_header(tmp_path):
    pair = random_pair(tmp_path, instruct_shards=None)
    output = merge(*pair, tmp_path / "out", lambdas=[0.5]).folders[0.5]
    edit_lineage(output, lambda lineage: lineage["spec"].update(out_dtype="float32"))
    found = rebuild(output)
    assert (found["cause"], found["difference"]["tensor"]) == ("computation", "model.embed_tokens.weight")
    assert "is BF16 [64, 16] at bytes" in found["message"]
    assert "F32 [64, 16] at bytes" in found["message"]


def test_edited_digest_of_a_shard_is_the_lineages_fault(output):
    edit_lineage(output, lambda lineage: lineage["outputs"][SHARDS[0]].update(sha256="0" * 64))
    found = rebuild(output)
    assert (found["cause"], found["reproduced"]) == ("lineage", False)
    assert f"{SHARDS[0]} is reproduced, and lineage.json states another digest" in found["message"]


def test_edited_digest_of_an_input_is_an_input_that_is_another_file(output):
    name = "model-00001-of-00002.safetensors"
    edit_lineage(output, lambda lineage: lineage["inputs"]["base"]["files"][name].update(sha256="0" * 64))
    found = rebuild(output)
    assert (found["cause"], f"{name}, of the base" in found["message"]) == ("input", True)


def test_input_of_which_no_digest_is_pinned_is_named(output):
    edit_lineage(output, lambda lineage: lineage["inputs"]["instruct"]["files"].pop(SHARDS[1]))
    found = rebuild(output)
    assert (found["cause"], f"{SHARDS[1]}, of the instruct" in found["message"]) == ("lineage", True)
    assert "pins no digest of it" in found["message"]


def test_file_that_no_merge_makes_is_named(output):
    (output / "extra.safetensors").write_bytes(b"x")
    about = {"size_bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    edit_lineage(output, lambda lineage: lineage["outputs"].update({"extra.safetensors": about}))
    found = rebuild(output)
    assert (found["cause"], found["difference"]["file"]) == ("computation", "extra.safetensors")


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json", "modeling_x.py", "adapter_config.json"],
)
def test_file_beside_the_reproduced_ones_is_a_difference(output, name):
    shutil.copy(output / SHARDS[0], output / name)
    found = rebuild(output)
    assert (found["reproduced"], found["cause"], found["strays"]) == (False, "published", [name])
    assert f"what it does not tell of: {name};" in found["message"]
    assert found["difference"]["file"] == name


@pytest.mark.parametrize("name", ["sweep.svg", "bom.cdx.json", "mergekit_config.yml"])
def test_document_of_ours_that_the_lineage_does_not_tell_of_is_a_difference(output, name):
    (output / name).write_text("mine")
    edit_lineage(output, lambda lineage: lineage["outputs"].pop(name, None))
    found = rebuild(output)
    assert (found["cause"], found["strays"]) == ("published", [name])


def test_what_people_and_registries_change_is_no_difference(output):
    for name in ("README.md", "model.sig", "provenance.intoto.jsonl", ".gitattributes"):
        (output / name).write_text("theirs")
    (output / ".cache").mkdir()
    assert_reproduced(output)


def test_shard_that_the_lineage_leaves_out_is_named(output):
    edit_lineage(output, lambda lineage: lineage["outputs"].pop(SHARDS[1]))
    found = rebuild(output)
    assert (found["cause"], found["difference"]["file"]) == ("computation", SHARDS[1])


def test_lineage_may_be_held_against_the_digest_that_the_job_shows(output):
    digest = hashlib.sha256((output / "lineage.json").read_bytes()).hexdigest()
    assert_reproduced(output, lineage_sha256=digest)
    with pytest.raises(Reported, match=f"SHA-256 {'0' * 64} expected, {digest} found"):
        rebuild(output, lineage_sha256="0" * 64)


def test_other_software_is_told(output):
    edit_lineage(output, lambda lineage: lineage["software"][0].update(torch="2.6.0"))
    found = assert_reproduced(output)["software"]
    assert (found["is_other"], found["then"][0]["torch"], found["now"]) == (True, "2.6.0", software())
