"""Adapters, chains and the small files of every parent are found, read and refused through a job's own sources."""

import json

import pytest

from crossfade_core.adapter import ADAPTER_CONFIG, ADAPTER_FILE
from crossfade_core.errors import (
    AdapterMalformed,
    AdapterUnsupported,
    CheckpointError,
    ConfigMalformed,
    DuplicateKey,
    HeaderMalformed,
    IndexMissingFile,
    NoCheckpoint,
    QuantisationUnsupported,
    SourceNotFound,
    TokenizerMalformed,
    TokensConflict,
)
from crossfade_core.plan import Action
from crossfade_core.spec import MergeSpec
from crossfade_registries.config import Registries
from crossfade_registries.layout import plan_spec
from crossfade_registries.settings import RegistrySettings
from tests.fakes.checkpoints import LLAMA_SIZES, encode_file, random_pair, small_files, write_checkpoint
from tests.fakes.source import MemorySource

Q = "model.layers.0.self_attn.q_proj"
OUTER = "base_model.model."
ROOT = "local://models"
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}


def zeros(dtype, shape):
    size = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "I32": 4}[dtype]
    count = 1
    for length in shape:
        count *= length
    return dtype, shape, bytes(size * count)


def model_files(parent, *, sizes=LLAMA_SIZES, dtype="BF16", **extra):
    """Return the files of a model by name."""
    weights = encode_file({name: zeros(dtype, shape) for name, shape in sizes.items()})
    return {"model.safetensors": weights, **small_files(parent), **extra}


def adapter_files(tensors=None, **config):
    """Return the files of an adapter as PEFT saves it, without a tokenizer."""
    factors = {f"{OUTER}{Q}.lora_A.weight": zeros("F32", (4, 16)), f"{OUTER}{Q}.lora_B.weight": zeros("F32", (16, 4))}
    stated = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "base", **config}
    return {
        ADAPTER_CONFIG: json.dumps(stated).encode(),
        ADAPTER_FILE: encode_file(factors if tensors is None else tensors),
        "README.md": b"about",
    }


def tokenizer(*words):
    vocabulary = {word: id_ for id_, word in enumerate(words)}
    return json.dumps({"model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": words[0]}}).encode()


class World:
    """Sources by the last part of their URI, and what was opened of them."""

    def __init__(self, **folders):
        self._folders = folders
        self.opened = {}

    def open_source(self, uri):
        name = uri.removeprefix(f"{ROOT}/")
        if name not in self._folders:
            raise SourceNotFound(f"{uri}: no such folder", source=uri)
        self.opened[name] = MemorySource(self._folders[name], uri)
        return self.opened[name]

    def plan(self, instruct="instruct", **fields):
        side = f"{ROOT}/{instruct}" if isinstance(instruct, str) else instruct
        required = {"base": f"{ROOT}/base", "instruct": side, "lambdas": [0.5], "destination": "out"}
        return plan_spec(MergeSpec.model_validate({**required, **fields}), self.open_source)


def chain_of(a="a", b="b", **more):
    return {"delta_of": [f"{ROOT}/{a}", f"{ROOT}/{b}"], **more}


def copied(sourced):
    """Return whose file of each name is copied along."""
    return {info.name: role for role, info in sourced.companions}


def test_adapter_is_planned_over_its_base_and_what_is_read_later_is_pinned():
    world = World(base=model_files("base"), tuned=adapter_files())
    sourced = world.plan("tuned")
    rows = {row.name: row for row in sourced.plan.rows}
    assert rows.keys() == LLAMA_SIZES.keys()
    assert rows[f"{Q}.weight"].delta.rank == 4
    assert {row.action for row in rows.values()} == {Action.INTERPOLATE, Action.COPY_BASE}
    assert set(sourced.files["instruct"]) == {ADAPTER_FILE, ADAPTER_CONFIG}
    assert set(sourced.files["base"]) == {"model.safetensors", "config.json", *TOKENIZER}
    assert all(source.is_closed for source in world.opened.values())


def test_no_byte_of_an_adapters_tensors_is_read_to_plan_it():
    world = World(base=model_files("base"), tuned=adapter_files())
    row = next(row for row in world.plan("tuned").plan.rows if row.delta)
    first = min(row.delta.down.start, row.delta.up.start)
    reads = [read for read in world.opened["tuned"].reads if read.file == ADAPTER_FILE]
    assert reads
    assert all(read.offset + read.size_bytes <= first for read in reads)


def test_adapter_on_disk_is_planned_too(tmp_path):
    pair = random_pair(tmp_path)
    folder = tmp_path / "tuned"
    folder.mkdir()
    for name, content in adapter_files().items():
        (folder / name).write_bytes(content)
    spec = MergeSpec(base=f"{ROOT}/{pair.base.name}", instruct=f"{ROOT}/tuned", lambdas=(0.5,), destination="out")
    sourced = plan_spec(spec, Registries(RegistrySettings(roots={"models": tmp_path})).open_source)
    assert sourced.plan.summary()["actions"] == {"interpolate": 1, "copy_base": 11, "absorb": 2}


def test_adapter_without_a_tokenizer_carries_all_of_the_bases_files():
    sourced = World(base=model_files("base"), tuned=adapter_files()).plan("tuned")
    assert copied(sourced) == dict.fromkeys({"config.json", *TOKENIZER}, "base")


def own_tokenizer():
    return {name: content for name, content in small_files("tuned").items() if name in TOKENIZER}


@pytest.mark.parametrize(("tokenizer_from", "whose"), [(None, "instruct"), ("instruct", "instruct"), ("base", "base")])
def test_adapter_with_a_tokenizer_carries_its_own_but_never_its_config(tokenizer_from, whose):
    theirs = {**adapter_files(), **own_tokenizer(), "generation_config.json": b"{}"}
    base = model_files("base", **{"generation_config.json": b"{}", "vocab.txt": b"a"})
    sourced = World(base=base, tuned=theirs).plan("tuned", tokenizer_from=tokenizer_from)
    found = copied(sourced)
    assert {name for name, role in found.items() if role == whose} >= TOKENIZER
    assert (found["config.json"], found["generation_config.json"]) == ("base", "base")
    assert found.get("vocab.txt") == (None if whose == "instruct" else "base")  # never a mix of two tokenizers
    assert ADAPTER_CONFIG not in found


def test_chat_template_alone_is_no_tokenizer():
    theirs = {**adapter_files(), "chat_template.jinja": b"x"}
    assert copied(World(base=model_files("base"), tuned=theirs).plan("tuned"))["chat_template.jinja"] == "base"


def test_adapter_that_holds_a_copy_of_the_models_config_is_still_one():
    theirs = {**adapter_files(), "config.json": small_files("tuned")["config.json"]}
    sourced = World(base=model_files("base"), tuned=theirs).plan("tuned")
    assert any(row.delta for row in sourced.plan.rows)
    assert copied(sourced)["config.json"] == "base"


def test_model_that_holds_an_adapters_config_is_still_a_model():
    theirs = model_files("instruct", **{ADAPTER_CONFIG: b"nonsense"})
    plan = World(base=model_files("base"), instruct=theirs).plan().plan
    assert not any(row.delta for row in plan.rows)


def test_folder_with_the_weights_of_a_model_and_of_an_adapter_is_refused():
    theirs = {**adapter_files(), **model_files("tuned")}
    with pytest.raises(NoCheckpoint, match=rf"^{ROOT}/tuned: 2 safetensors files"):
        World(base=model_files("base"), tuned=theirs).plan("tuned")


@pytest.mark.parametrize("extra", [{}, {"adapter_model.bin": b"\x80\x02"}])
def test_adapter_without_safetensors_is_refused_with_the_way_out(extra):
    theirs = {name: content for name, content in adapter_files().items() if name != ADAPTER_FILE} | extra
    with pytest.raises(AdapterUnsupported, match=rf"^{ROOT}/tuned: .*safe_serialization=True.*pickle") as caught:
        World(base=model_files("base"), tuned=theirs).plan("tuned")
    assert caught.value.details["source"] == f"{ROOT}/tuned"


def test_pickle_beside_an_adapters_safetensors_is_neither_read_nor_pinned():
    world = World(base=model_files("base"), tuned={**adapter_files(), "adapter_model.bin": b"\x80\x02"})
    assert set(world.plan("tuned").files["instruct"]) == {ADAPTER_FILE, ADAPTER_CONFIG}
    assert {read.file for read in world.opened["tuned"].reads} - {"README.md"} == {ADAPTER_FILE, ADAPTER_CONFIG}


OPEN = {"one_sided": "copy", "other_shape": "base", "extra_rows": "copy", "tokens": "ignore", "integers": "base"}


@pytest.mark.parametrize("policies", [{}, OPEN], ids=["refusing", "open"])
@pytest.mark.parametrize("place", ["a", "b"])
def test_adapter_in_a_chain_is_refused_whatever_the_policies(place, policies):
    folders = {name: model_files(name) for name in ("base", "a", "b")} | {place: adapter_files()}
    with pytest.raises(AdapterUnsupported, match=rf"^{ROOT}/{place}: an adapter cannot stand in a chain.*peft"):
        World(**folders).plan(chain_of(), policies=policies)


@pytest.mark.parametrize("policies", [{}, OPEN], ids=["refusing", "open"])
def test_adapter_as_the_base_is_refused_whatever_the_policies(policies):
    world = World(base=adapter_files(), instruct=model_files("instruct"))
    with pytest.raises(AdapterUnsupported, match=rf"^{ROOT}/base: an adapter cannot be the base.*instruct side"):
        world.plan(policies=policies)


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({ADAPTER_CONFIG: b"{"}, AdapterMalformed, "JSON"),
        ({ADAPTER_CONFIG: b'{"peft_type": "LORA", "r": 4, "r": 4}'}, DuplicateKey, "twice"),
        ({ADAPTER_CONFIG: b'{"peft_type": "LOHA"}'}, AdapterUnsupported, "only LORA"),
        ({ADAPTER_CONFIG: b'{"peft_type": "LORA", "r": 5}'}, AdapterMalformed, "rank 5"),
        ({ADAPTER_FILE: b"\x02\0\0\0\0\0\0\0[]"}, HeaderMalformed, "begin with"),
        ({ADAPTER_FILE: encode_file({})}, AdapterMalformed, "holds no tensor"),
        ({ADAPTER_CONFIG: b" " * 10_000_001}, CheckpointError, "over 10000000"),
    ],
    ids=["no JSON", "doubled key", "another kind", "another rank", "no header", "no tensor", "too large"],
)
def test_malformed_adapter_is_named_with_its_source(files, error, words):
    with pytest.raises(error, match=rf"^{ROOT}/tuned: .*{words}") as caught:
        World(base=model_files("base"), tuned={**adapter_files(), **files}).plan("tuned")
    assert caught.value.details["source"] == f"{ROOT}/tuned"


def test_adapter_for_another_base_is_named_with_its_source():
    sizes = {name: shape for name, shape in LLAMA_SIZES.items() if not name.startswith(Q)}
    with pytest.raises(AdapterMalformed, match=rf"^{ROOT}/tuned: .*q_proj.*give the base the adapter was made for"):
        World(base=model_files("base", sizes=sizes), tuned=adapter_files()).plan("tuned")


def test_adapters_tokenizer_is_held_against_the_bases_where_it_brings_an_embedding():
    whole = {f"{OUTER}{name}": zeros("BF16", (64, 16)) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    base = model_files("base", **{"tokenizer.json": tokenizer("<unk>", "one", "two")})
    theirs = {**adapter_files(whole), "tokenizer.json": tokenizer("<unk>", "two", "one")}
    world = World(base=base, tuned=theirs)
    with pytest.raises(TokensConflict, match="id 1 is 'one' in the base and 'two' in the adapter"):
        world.plan("tuned")
    assert "ignored by policy" in world.plan("tuned", policies={"tokens": "ignore"}).plan.notes[0]


def three(**changes):
    return {name: model_files(name, **changes.get(name, {})) for name in ("base", "a", "b")}


def test_chain_reads_three_sources_pins_each_and_closes_them():
    world = World(**three())
    sourced = world.plan(chain_of(skip=["lm_head*"]))
    rows = {row.name: row for row in sourced.plan.rows}
    assert rows["lm_head.weight"].action is Action.COPY_BASE
    assert rows[f"{Q}.weight"].reference is not None
    assert {role: set(files) for role, files in sourced.files.items()} == {
        "base": {"model.safetensors", "config.json", *TOKENIZER},
        "instruct": {"model.safetensors", "config.json", "tokenizer.json"},
        "reference": {"model.safetensors", "config.json", "tokenizer.json"},
    }
    assert world.opened.keys() == {"base", "a", "b"}
    assert all(source.is_closed for source in world.opened.values())


@pytest.mark.parametrize(("tokenizer_from", "whose"), [(None, "base"), ("base", "base"), ("instruct", "instruct")])
def test_chain_carries_the_bases_config_and_the_tokenizer_asked_for(tokenizer_from, whose):
    found = copied(World(**three()).plan(chain_of(), tokenizer_from=tokenizer_from))
    assert found == {"config.json": "base", **dict.fromkeys(TOKENIZER, whose)}


@pytest.mark.parametrize(("place", "uri"), [("a", "b"), ("b", "a")])
def test_side_of_a_chain_that_is_not_there_is_named_and_the_others_are_closed(place, uri):
    folders = three()
    del folders[place]
    world = World(**folders)
    with pytest.raises(SourceNotFound, match=f"^{ROOT}/{place}: "):
        world.plan(chain_of())
    assert all(source.is_closed for source in world.opened.values())


def test_same_checkpoint_may_stand_in_several_places():
    world = World(**three())
    plan = world.plan({"delta_of": [f"{ROOT}/a", f"{ROOT}/base"]}).plan
    assert {row.action for row in plan.rows} == {Action.INTERPOLATE}


@pytest.mark.parametrize("place", ["base", "a", "b"])
@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"config.json": b"{"}, ConfigMalformed, "JSON"),
        ({"config.json": b'{"tie_word_embeddings": "yes"}'}, ConfigMalformed, "true or false expected"),
        ({"config.json": b" " * 10_000_001}, CheckpointError, "over 10000000"),
        ({"tokenizer.json": b"[]"}, TokenizerMalformed, "no object"),
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0[]"}, HeaderMalformed, "begin with"),
        (
            {"model.safetensors": encode_file({"w.qweight": zeros("I32", (4, 4))})},
            QuantisationUnsupported,
            r"'w\.qweight' is part of a checkpoint quantised as GPTQ",
        ),
        (
            {"model.safetensors": encode_file({"w.weight": zeros("F8_E4M3", (4, 4))})},
            QuantisationUnsupported,
            "needs one tensor of scales",
        ),
    ],
    ids=["config", "tie", "large config", "tokenizer", "header", "GPTQ", "no scales"],
)
def test_whatever_is_wrong_with_a_parent_is_named_with_its_source(files, error, words, place):
    with pytest.raises(error, match=rf"^{ROOT}/{place}: .*{words}") as caught:
        World(**three(**{place: files})).plan(chain_of())
    assert caught.value.details["source"] == f"{ROOT}/{place}"


@pytest.mark.parametrize("extra", ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.pth", "rng.pt"])
def test_pickle_beside_safetensors_is_neither_read_nor_pinned_nor_copied(extra):
    world = World(base=model_files("base", **{extra: b"\x80\x02"}), instruct=model_files("i", **{extra: b"\x80\x02"}))
    sourced = world.plan()
    assert not any(extra in files for files in sourced.files.values())
    assert not any(extra == read.file for source in world.opened.values() for read in source.reads)
    assert extra not in copied(sourced)


@pytest.mark.parametrize("side", ["base", "instruct"])
@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickle_alone_is_refused_unread_with_the_way_out(weights, side):
    folders = {name: model_files(name) for name in ("base", "instruct")}
    folders[side] = {**small_files(side), weights: b"\x80\x02"}
    world = World(**folders)
    with pytest.raises(NoCheckpoint, match=rf"^{ROOT}/{side}: only pickle.*safe_serialization=True"):
        world.plan()
    assert not any(read.file == weights for read in world.opened[side].reads)


def test_index_of_safetensors_that_are_not_there_does_not_fall_back_to_pickle():
    index = json.dumps({"weight_map": {"w": "model-00001-of-00001.safetensors"}}).encode()
    theirs = {**small_files("i"), "model.safetensors.index.json": index, "pytorch_model.bin": b"\x80\x02"}
    with pytest.raises(IndexMissingFile, match=rf"^{ROOT}/instruct: "):
        World(base=model_files("base"), instruct=theirs).plan()


def test_tokenizers_of_a_pair_are_compared_by_what_their_files_say():
    ours, theirs = tokenizer("<unk>", "one", "two"), tokenizer("<unk>", "two", "one")
    world = World(
        base=model_files("base", **{"tokenizer.json": ours}), instruct=model_files("i", **{"tokenizer.json": theirs})
    )
    with pytest.raises(TokensConflict, match="id 1 is 'one' in the base and 'two' in the instruct") as caught:
        world.plan()
    assert caught.value.details["count"] == 2


def test_tokenizer_file_that_both_have_is_the_one_compared():
    shared = {"vocab.json": b'{"one": 0, "two": 1}'}
    base = model_files("base", **shared)
    theirs = {name: content for name, content in model_files("i", **shared).items() if name != "tokenizer.json"}
    world = World(base=base, instruct=theirs)
    assert world.plan().plan.notes == ()
    assert not any(read.file == "tokenizer.json" and read.size_bytes for read in world.opened["base"].reads)


@pytest.mark.parametrize("silent", ["base", "instruct"])
def test_side_without_a_tokenizer_is_the_one_that_is_named(silent):
    folders = {name: model_files(name) for name in ("base", "instruct")}
    del folders[silent]["tokenizer.json"]
    (note,) = World(**folders).plan().plan.notes
    assert note == f"the tokenizers could not be compared: the {silent} has no tokenizer file that crossfade reads"


def test_chain_whose_a_brings_no_tokenizer_is_still_held_against_b():
    folders = three(b={"tokenizer.json": tokenizer("<unk>", "other")})
    del folders["a"]["tokenizer.json"]
    with pytest.raises(TokensConflict, match="id 1 is 'word' in the base and 'other' in the chain's B"):
        World(**folders).plan(chain_of())


def test_tied_and_untied_folders_give_an_untied_output_whose_config_will_say_so(tmp_path):
    tied = {name: zeros("BF16", shape) for name, shape in LLAMA_SIZES.items() if name != "lm_head.weight"}
    untied = {name: zeros("BF16", shape) for name, shape in LLAMA_SIZES.items()}
    config = json.dumps({**json.loads(small_files("base")["config.json"]), "tie_word_embeddings": True}).encode()
    write_checkpoint(tmp_path / "base", tied, extra_files={**small_files("base"), "config.json": config})
    write_checkpoint(tmp_path / "instruct", untied, extra_files=small_files("instruct"))
    spec = MergeSpec(
        base=f"{ROOT}/base", instruct=f"{ROOT}/instruct", lambdas=(0.5,), destination="out", tokenizer_from="base"
    )
    plan = plan_spec(spec, Registries(RegistrySettings(roots={"models": tmp_path})).open_source).plan
    assert {row.name for row in plan.rows} == set(LLAMA_SIZES)
    assert plan.config_changes == {"/tie_word_embeddings": False}


def test_scaled_codes_in_a_folder_are_planned_as_numbers_and_leave_the_config():
    weight = "model.layers.0.mlp.up_proj.weight"
    config = json.dumps({"quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 8]}}).encode()
    coded = {weight: zeros("F8_E4M3", (48, 16)), f"{weight}_scale_inv": zeros("F32", (2, 2))}
    base = {**small_files("base"), "config.json": config, "model.safetensors": encode_file(coded)}
    theirs = model_files("i", sizes={weight: (48, 16)})
    plan = World(base=base, instruct=theirs).plan(tokenizer_from="base").plan
    (row,) = plan.rows
    assert (row.out_dtype, row.base.scales.block, row.base.scales.shape) == ("BF16", (32, 8), (2, 2))
    assert [row.name for row in plan.absorbed] == [f"{weight}_scale_inv"]
    assert plan.config_changes["/quantization_config"] is None
