"""The walk through the lineage graph, and what a checkpoint is known by."""

import hashlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core import lineage_graph
from crossfade_core.lineage_graph import MAX_NODES, Edge, checkpoint_digest, place_of, walk


def edge(source, output, number=0):
    return Edge(
        f"{source}-{output}-{number}", "base", source, f"s3://b/{source}", output, f"s3://b/{output}", "job", 0.5
    )


def descend(edges, start, depth=8):
    """Walk down over a list of edges; return what the walk found and what it asked for."""
    asked = []

    def edges_of(checkpoints, at_most):
        asked.append((list(checkpoints), at_most))
        return [each for each in edges if each.source in checkpoints][:at_most]

    return walk(start, edges_of, lambda each: each.output, depth), asked


def test_a_checkpoint_is_known_by_what_coreutils_say_of_its_weights(tmp_path):
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"):
        (tmp_path / name).write_text(name)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    command = "sha256sum *.safetensors | cut -d' ' -f1 | sort | sha256sum"
    told = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert checkpoint_digest(digests) == told.split()[0]


def test_names_of_files_are_no_part_of_a_checkpoint_and_their_number_is():
    weights = {"a.safetensors": "01", "b.safetensors": "02"}
    assert checkpoint_digest(weights) == checkpoint_digest({"x.safetensors": "02", "y.safetensors": "01"})
    assert checkpoint_digest(weights) != checkpoint_digest({**weights, "c.safetensors": "02"})


def test_config_and_tokenizer_are_no_part_of_a_model_and_its_config_is_one_of_an_adapter():
    model = {"model.safetensors": "01"}
    assert checkpoint_digest(model) == checkpoint_digest({**model, "config.json": "02", "tokenizer.json": "03"})
    adapter = {"adapter_model.safetensors": "01", "adapter_config.json": "02"}
    assert checkpoint_digest(adapter) != checkpoint_digest({**adapter, "adapter_config.json": "03"})


@pytest.mark.parametrize("files", [{}, {"config.json": "01"}, {"adapter_config.json": "01"}])
def test_without_weights_there_is_no_checkpoint(files):
    assert checkpoint_digest(files) is None


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("hf://acme/base@" + "0f" * 20, "hf://acme/base"),
        ("hf://acme/base", "hf://acme/base"),
        ("hf://acme/base/", "hf://acme/base"),
        ("s3://models/a@b/", "s3://models/a@b"),
        ("file:///srv/out/x", "file:///srv/out/x"),
    ],
)
def test_the_place_of_a_uri_is_what_pins_nothing(uri, place):
    assert place_of(uri) == place


@given(
    edges=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=30),
    depth=st.integers(0, 6),
)
def test_every_checkpoint_is_found_once_at_its_shortest_distance_whatever_leads_back(edges, depth):
    edges = [edge(*ends, number) for number, ends in enumerate(edges)]
    expected = {"a": 0}
    for level in range(1, 9):
        reached = {each.output for each in edges if each.source in expected} - expected.keys()
        expected |= dict.fromkeys(reached, level)
    found, asked = descend(edges, ["a"], depth)
    near = {checkpoint: level for checkpoint, level in expected.items() if level <= depth}
    assert dict(found.levels) == near
    assert found.is_truncated == (near != expected)
    assert set(found.edges) == {each for each in edges if {each.source, each.output} <= near.keys()}
    assert len(asked) <= depth + 1


def test_a_bound_of_checkpoints_keeps_the_nearest_and_says_so():
    edges = [edge("a", f"child-{number}") for number in range(MAX_NODES)]
    found, _ = descend(edges, ["a"])
    assert (len(found.levels), found.is_truncated) == (MAX_NODES + 1, False)
    further = [*edges, edge("a", "one more"), edge("child-0", "grandchild")]
    found, _ = descend(further, ["a"])
    assert (len(found.levels), found.is_truncated) == (MAX_NODES + 1, True)
    assert not {"one more", "grandchild"} & found.levels.keys()
    assert {each.output for each in found.edges} == found.levels.keys() - {"a"}


def test_a_bound_of_edges_holds_over_all_levels(monkeypatch):
    monkeypatch.setattr(lineage_graph, "MAX_EDGES", 5)
    edges = [edge("a", "b", number) for number in range(4)] + [edge("b", "c", number) for number in range(4)]
    found, asked = descend(edges, ["a"])
    assert (len(found.edges), found.is_truncated) == (5, True)
    assert [at_most for _, at_most in asked] == [6, 2, 1]


def test_nothing_is_asked_of_checkpoints_that_are_known():
    edges = [edge("a", "b"), edge("b", "a"), edge("a", "a")]
    found, asked = descend(edges, ["a"])
    assert [checkpoints for checkpoints, _ in asked] == [["a"], ["b"]]
    assert (len(found.edges), found.is_truncated) == (3, False)
