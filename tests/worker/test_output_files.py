"""The files beside the weights come from whom the plan says, and lineage tells of each what was read and written."""

import hashlib
import json

import pytest

from crossfade_core.errors import CheckpointError, ConfigMalformed, SourceChanged
from crossfade_core.job import PRIVATE
from crossfade_core.ports import FileInfo
from crossfade_core.provenance import Builder
from crossfade_core.spec import MergeSpec, spec_digest
from crossfade_registries.layout import MAX_CONFIG_BYTES
from crossfade_worker.documents import Maker
from crossfade_worker.output_files import stage_output_files
from crossfade_worker.plan_record import SOURCES
from crossfade_worker.sweep_facts import Origin, sweep_facts
from tests.fakes.sink import MemorySink
from tests.fakes.source import MemorySource

SPEC = MergeSpec(
    base="local://m/base", instruct="local://m/adapter", lambdas=(0.5, 1.0), destination="out", tokenizer_from="base"
)
SHARDS = {"model.safetensors": {"size_bytes": 3, "sha256": "ab" * 32}}
CONFIG = b'{"tie_word_embeddings": true, "vocab_size": 64}'


@pytest.fixture
def sources():
    base = {"model.safetensors": b"weights", "config.json": CONFIG, "tokenizer.json": b"{}"}
    adapter = {
        "adapter_model.safetensors": b"factors",
        "adapter_config.json": b'{"r": 8}',
        "tokenizer.json": b'{"version": "1.0"}',
    }
    return {"base": MemorySource(base, "local://m/base"), "instruct": MemorySource(adapter, "local://m/adapter")}


def facts(sources, *, spec=SPEC, config_changes=(), tensors=(), **private):
    """Facts as a job has them whose base gives the config and whose adapter the tokenizer."""
    files = {
        role: {info.name: {"size_bytes": info.size_bytes, "version": info.version} for info in source.files().values()}
        for role, source in sources.items()
    }
    uris = {role: source.uri for role, source in sources.items()}
    kept = {
        "files": files,
        "companions": [["base", "config.json"], ["instruct", "tokenizer.json"]],
        "index": None,
        "exceptions": [],
        "config_changes": dict(config_changes),
        **private,
    }
    digests = {"base": {"model.safetensors": "b" * 64}, "instruct": {"adapter_model.safetensors": "a" * 64}}
    result = {
        "inputs": digests,
        "software": {"crossfade": "0"},
        "statistics": {"method": "exact", "tensors": list(tensors)},
    }
    origin = Origin(spec, spec_digest(spec), "job-1", "2026-11-20T17:00:00+00:00")
    summary = {"tensors": 1, "out_dtypes": {"BF16": 1}, SOURCES: uris, PRIVATE: kept}
    return sweep_facts(origin, summary, [result])


def stage(sources, sweep, position=0):
    sink = MemorySink()
    staged = stage_output_files(sink, sweep, position, sources=sources, shards=SHARDS, maker=Maker(Builder()))
    content = {file: writer.content for (_, file), writer in sink.writers.items() if writer.state == "finished"}
    return staged, content


def about(content):
    return {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_each_file_comes_from_the_source_that_the_plan_names(sources):
    staged, content = stage(sources, facts(sources))
    assert content["config.json"] == CONFIG
    assert content["tokenizer.json"] == b'{"version": "1.0"}'
    assert staged.files.keys() == content.keys() | SHARDS.keys()
    assert all(staged.files[name] == about(content[name]) for name in content)


def test_lineage_lists_what_was_read_of_each_source_the_adapters_config_too(sources):
    _, content = stage(sources, facts(sources))
    inputs = {role: side["files"] for role, side in json.loads(content["lineage.json"])["inputs"].items()}
    assert inputs["base"] == {
        "config.json": about(CONFIG),
        "model.safetensors": {"size_bytes": 7, "sha256": "b" * 64},
        "tokenizer.json": about(b"{}"),
    }
    assert inputs["instruct"]["adapter_config.json"] == about(b'{"r": 8}')
    assert inputs["instruct"]["tokenizer.json"] == about(b'{"version": "1.0"}')


def test_a_changed_config_is_written_and_its_original_is_the_input(sources):
    staged, content = stage(sources, facts(sources, config_changes={"/tie_word_embeddings": False}))
    assert json.loads(content["config.json"]) == {"tie_word_embeddings": False, "vocab_size": 64}
    assert staged.files["config.json"] == about(content["config.json"])
    told = json.loads(content["lineage.json"])
    assert told["inputs"]["base"]["files"]["config.json"] == about(CONFIG)
    assert told["outputs"]["config.json"] == about(content["config.json"])
    assert told["plan"]["config_changes"] == {"/tie_word_embeddings": False}


def test_a_config_too_large_to_change_is_refused(sources):
    sources["base"].put("config.json", b"{" + b" " * MAX_CONFIG_BYTES + b"}")
    with pytest.raises(ConfigMalformed, match=r"local://m/base/config.json.*at most 10000000"):
        stage(sources, facts(sources, config_changes={"/x": 1}))
    stage(sources, facts(sources))  # copied as it is, it may have any size


def test_a_config_that_is_none_any_more_is_an_error_of_the_checkpoint(sources):
    sources["base"].put("config.json", b"[]")
    with pytest.raises(CheckpointError):
        stage(sources, facts(sources, config_changes={"/x": 1}))


@pytest.mark.parametrize(("role", "file"), [("base", "config.json"), ("instruct", "adapter_config.json")])
def test_a_file_that_changed_since_the_plan_is_named(sources, role, file):
    sweep = facts(sources)
    sources[role].put(file, b" " * sources[role].files()[file].size_bytes)
    with pytest.raises(SourceChanged, match=file):
        stage(sources, sweep)


def test_statistics_are_those_of_the_outputs_own_lambda(sources):
    tensor = {
        "tensor": "w",
        "factor": 1.0,
        "elements": 4,
        "counted": 4,
        "delta_squares": 4.0,
        "base_squares": 1.0,
        "base_non_finite": [0, 0],
        "instruct_non_finite": [0, 0],
        "outputs": [[1.0, 1.0, 2, 0], [4.0, 4.0, 0, 0]],
    }
    for position, (realised, warned) in enumerate([(0.25, 1), (1.0, 0)]):
        staged, content = stage(sources, facts(sources, tensors=[tensor]), position)
        told = json.loads(content["lineage.json"])
        assert told["lambda"] == SPEC.lambdas[position]
        assert (told["statistics"]["realised"], len(told["statistics"]["warnings"])) == (realised, warned)
        assert told["statistics"]["tensors"][0]["realised"] == realised
        assert staged.statistics == {key: value for key, value in told["statistics"].items() if key != "tensors"}
        assert f"| realised λ̂ | {realised} |" in content["README.md"].decode()


def test_staging_again_gives_the_same_bytes(sources):
    sweep = facts(sources)
    assert stage(sources, sweep) == stage(sources, sweep)


def test_pinned_files_keep_their_versions(sources):
    pinned = facts(sources).plan.files
    assert pinned["instruct"]["adapter_config.json"] == FileInfo("adapter_config.json", 8, "1")
