"""Output shards mirror the instruct checkpoint's, and their headers are ones that others can read."""

import json
import math

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.checkpoint import DTYPE_BITS, build_layout, header_length, parse_header, parse_index
from crossfade_core.parents import Chain, Checkpoint
from crossfade_core.plan import ShardPlan
from crossfade_core.quantisation import read_values
from tests.fakes.layouts import make_layout, plan_layouts, plan_parents

FILES = [f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]
MIXED = [("flags", "BOOL", (3,)), ("w", "BF16", (3,)), ("ids", "I64", (2,)), ("v", "F32", (1,)), ("u", "BF16", ())]


def plan_with_itself(shards, out_dtype="auto"):
    layout = make_layout(shards)
    return plan_layouts(layout, layout, out_dtype=out_dtype)


def as_file(shard):
    """Return the file the engine would write, with zeros for tensors."""
    return shard.header + bytes(shard.size_bytes - len(shard.header))


def parsed(shard):
    raw = as_file(shard)
    length = header_length(raw[:8], shard.file, len(raw))
    return parse_header(raw[8 : 8 + length], shard.file, len(raw))


def assert_reads_back(shard):
    raw, header = as_file(shard), parsed(shard)
    rows = [(row.name, row.out_dtype, row.shape, row.start, row.end) for row in shard.rows]
    assert [(t.name, t.dtype, t.shape, t.start, t.end) for t in header.tensors] == rows
    oracle = {name: (found["dtype"], tuple(found["shape"])) for name, found in safetensors.deserialize(raw)}
    assert oracle == {row.name: (row.out_dtype, row.shape) for row in shard.rows}
    for row in shard.rows:
        assert row.start % (DTYPE_BITS[row.out_dtype] // 8) == 0
        assert row.end - row.start == math.prod(row.shape) * DTYPE_BITS[row.out_dtype] // 8


def test_output_shards_are_the_instruct_files_with_the_same_tensors():
    base = make_layout({"model.safetensors": [(name, "BF16", (4,)) for name in "abcdef"]})
    instruct = make_layout(
        {file: [(name, "BF16", (4,)) for name in names] for file, names in zip(FILES, ("fa", "c", "dbe"), strict=True)}
    )
    plan = plan_layouts(base, instruct)
    assert {shard.file: "".join(row.name for row in shard.rows) for shard in plan.shards} == {
        FILES[0]: "fa",
        FILES[1]: "c",
        FILES[2]: "dbe",
    }


def test_wider_dtypes_come_first_and_the_instruct_order_holds_within_a_width():
    (shard,) = plan_with_itself({"model.safetensors": MIXED}).shards
    assert [row.name for row in shard.rows] == ["ids", "v", "w", "u", "flags"]
    assert_reads_back(shard)


@pytest.mark.parametrize("is_base", [True, False])
def test_tensors_lie_as_in_the_mirrored_file_whatever_the_order_of_its_index(is_base):
    shards = make_layout({FILES[0]: [(name, "BF16", (4,)) for name in "cab"], FILES[1]: [("d", "BF16", (4,))]}).shards
    weight_map = {"d": FILES[1], "a": FILES[0], "b": FILES[0], "c": FILES[0]}
    mirrored = build_layout(shards, weight_map)
    other = make_layout({"model.safetensors": [(name, "BF16", (4,)) for name in "abcd"]})
    parents = [Checkpoint(layout, read_values(layout, None)) for layout in (mirrored, other)]
    tuned = Chain(parents[1], parents[1]) if is_base else parents[0]
    plan = plan_parents(parents[0] if is_base else parents[1], tuned)
    assert ["".join(row.name for row in shard.rows) for shard in plan.shards] == ["cab", "d"]


def test_header_is_padded_with_spaces_to_8_bytes_and_marked_for_torch():
    (shard,) = plan_with_itself({"model.safetensors": MIXED}).shards
    assert len(shard.header) % 8 == 0
    document = json.loads(shard.header[8:])
    assert document["__metadata__"] == {"format": "pt"}
    assert shard.header[8:].rstrip(b" ").endswith(b"}")


def test_header_can_be_opened_as_a_file_by_the_safetensors_library(tmp_path):
    (shard,) = plan_with_itself({"model.safetensors": MIXED}).shards
    path = tmp_path / shard.file
    path.write_bytes(as_file(shard))
    with safetensors.safe_open(path, "np") as opened:
        assert sorted(opened.keys()) == sorted(name for name, _, _ in MIXED)
        assert opened.get_slice("ids").get_shape() == [2]


@pytest.mark.parametrize("name", ['quote"d', "back\\slash", "模型.重み", "emoji 🜁", "__proto__", " "])
def test_any_name_a_checkpoint_may_hold_survives_the_header(name):
    (shard,) = plan_with_itself({"model.safetensors": [(name, "BF16", (1,))]}).shards
    assert_reads_back(shard)


def test_zero_size_and_0_d_tensors_are_laid_out():
    tensors = [("none", "F32", (0, 7)), ("one", "BF16", ()), ("nil", "I64", (0,)), ("two", "F32", (2,))]
    (shard,) = plan_with_itself({"model.safetensors": tensors}).shards
    assert {row.name: row.end - row.start for row in shard.rows} == {"none": 0, "one": 2, "nil": 0, "two": 8}
    assert_reads_back(shard)


def test_file_of_nothing_but_zero_size_tensors_ends_with_its_header():
    (shard,) = plan_with_itself({"model.safetensors": [("none", "F32", (0,))]}).shards
    assert shard.size_bytes == len(shard.header)
    assert_reads_back(shard)


def test_instruct_shard_without_tensors_gives_an_output_file_without_tensors():
    plan = plan_with_itself({FILES[0]: [("w", "BF16", (2,))], FILES[1]: []})
    empty = plan.shards[1]
    assert (empty.file, empty.rows, empty.size_bytes) == (FILES[1], (), len(empty.header))
    assert_reads_back(empty)
    assert empty.owed["instruct"] == (FILES[1],)


def test_checkpoints_without_any_tensor_give_a_plan_without_rows():
    plan = plan_with_itself({"model.safetensors": []})
    plan.require_accepted()
    assert plan.rows == ()
    assert plan.summary()["tensors"] == 0


dtypes = st.sampled_from(["BF16", "F16", "F32", "F64", "I64", "I32", "I16", "U8", "BOOL"])
shards = st.lists(
    st.lists(st.tuples(dtypes, st.lists(st.integers(0, 3), max_size=3).map(tuple)), max_size=5), min_size=1, max_size=3
).map(
    lambda files: {
        file: [(f"{file[6:11]}.{at}", *fields) for at, fields in enumerate(tensors)]
        for file, tensors in zip(FILES, files, strict=False)
    }
)


@given(shards, st.sampled_from(["auto", "bfloat16", "float16", "float32"]))
def test_every_output_header_reads_back_aligned_and_complete(files, out_dtype):
    plan = plan_with_itself(files, out_dtype)
    for shard in plan.shards:
        assert_reads_back(shard)
    assert plan.write_bytes_per_output == sum(len(as_file(shard)) for shard in plan.shards)


@given(shards)
def test_shard_survives_the_store(files):
    for shard in plan_with_itself(files).shards:
        assert ShardPlan.from_record(json.loads(json.dumps(shard.as_record()))) == shard


@given(shards, shards)
def test_digest_of_every_input_file_is_owed_by_exactly_one_unit(base_files, instruct_files):
    base, instruct = make_layout(base_files), make_layout(instruct_files)
    plan = plan_layouts(base, instruct)
    if not plan.shards:
        return
    for role, parent in (("base", base), ("instruct", instruct)):
        owed = [file for shard in plan.shards for file in shard.owed[role]]
        assert sorted(owed) == sorted(shard.file for shard in parent.shards)


def test_base_file_is_hashed_by_the_unit_that_reads_most_of_it():
    names = {"a": (100,), "b": (10,), "c": (10,), "d": (100,)}
    base = make_layout({"x.safetensors": [(n, "U8", names[n]) for n in "ab"], "y.safetensors": [("c", "U8", (10,))]})
    instruct = make_layout({FILES[0]: [(n, "U8", names[n]) for n in "bc"], FILES[1]: [("a", "U8", (100,))]})
    owed = {shard.file: shard.owed["base"] for shard in plan_layouts(base, instruct).shards}
    assert owed == {FILES[0]: ("y.safetensors",), FILES[1]: ("x.safetensors",)}


def test_summary_counts_tensors_actions_dtypes_and_bytes():
    base = make_layout({"model.safetensors": [("w", "F32", (4,)), ("v", "BF16", (3,)), ("ids", "I64", (2,))]})
    instruct = make_layout({FILES[0]: [("w", "BF16", (4,)), ("ids", "I64", (2,))], FILES[1]: [("v", "BF16", (3,))]})
    plan = plan_layouts(base, instruct)
    sizes = [shard.size_bytes for shard in plan.shards]
    assert plan.summary() == {
        "tensors": 3,
        "actions": {"interpolate": 2, "copy_equal": 1},
        "out_dtypes": {"F32": 1, "I64": 1, "BF16": 1},
        "shards": [{"file": FILES[0], "size_bytes": sizes[0]}, {"file": FILES[1], "size_bytes": sizes[1]}],
        "read_bytes": (16 + 6 + 16) + (8 + 16 + 6),
        "write_bytes_per_output": sum(sizes),
        "notes": ["the tokenizers could not be compared: the base has no tokenizer file that crossfade reads"],
    }
    assert [size - len(shard.header) for size, shard in zip(sizes, plan.shards, strict=True)] == [32, 6]
    assert json.loads(json.dumps(plan.summary())) == plan.summary()


def test_single_file_needs_no_index():
    assert plan_with_itself({"model.safetensors": MIXED}).index_json() is None


@pytest.mark.parametrize("files", [FILES, FILES[:1], ["weights.safetensors"]])
def test_index_names_the_file_of_every_tensor_and_fits_the_headers(files):
    plan = plan_with_itself({file: [(f"{file}.w", "BF16", (5,))] for file in files})
    raw = plan.index_json()
    weight_map = parse_index(raw)
    assert weight_map == {row.name: shard.file for shard in plan.shards for row in shard.rows}
    assert json.loads(raw)["metadata"] == {"total_size": 10 * len(files)}
    layout = build_layout([parsed(shard) for shard in plan.shards], weight_map)
    assert len(layout.tensors) == len(files)
