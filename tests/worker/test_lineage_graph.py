"""What workers publish is in the lineage graph, with the digests of the bytes that they read and wrote."""

import hashlib

import pytest

from crossfade_core.errors import LineageNotFound, StoreUnavailable
from crossfade_core.lineage_graph import checkpoint_digest
from crossfade_stores.engine import create_store_engine
from crossfade_stores.lineage_store import SqlLineageStore
from tests.fakes.checkpoints import random_pair
from tests.worker.deployment import facts_of
from tests.worker.test_any_pair import CHAIN, adapter


@pytest.fixture
def lineage(deployment, tmp_path):
    engine = create_store_engine(f"sqlite:///{tmp_path / 'crossfade.db'}")
    yield SqlLineageStore(engine, deployment.clock)
    engine.dispose()


def checkpoint_of(folder):
    return checkpoint_digest({name: about["sha256"] for name, about in facts_of(folder).items()})


def ancestors(lineage, uri):
    """Return the checkpoint of every source of an output, by role."""
    found = lineage.of_uri(uri)
    assert {node.checkpoint for node in found.ancestors} == {edge.source for edge in found.edges}
    return {edge.role: edge.source for edge in found.edges}


def test_a_sweep_is_found_from_any_byte_of_its_sources_and_outputs(deployment, lineage):
    deployment.submit(output_name="x-{lambda}")
    deployment.deliver()
    for output in deployment.outputs.iterdir():
        pair = {"base": checkpoint_of(deployment.pair.base), "instruct": checkpoint_of(deployment.pair.instruct)}
        assert ancestors(lineage, output.as_uri()) == pair
    for shard in deployment.pair.base.glob("*.safetensors"):
        found = lineage.of_digest(hashlib.sha256(shard.read_bytes()).hexdigest())
        assert [match.files for match in found.matches] == [(shard.name,)]
        assert {node.sightings[0].name for node in found.descendants} == {"x-0.0", "x-0.5", "x-1.0"}


def test_a_chain_has_three_ancestors(deployment, lineage):
    random_pair(deployment.models / "other", seed=7)
    deployment.submit(instruct=CHAIN, lambdas=[0.5], output_name="x")
    deployment.deliver()
    folders = {"base": "base", "instruct": "instruct", "reference": "other/base"}
    expected = {role: checkpoint_of(deployment.models / folder) for role, folder in folders.items()}
    assert ancestors(lineage, (deployment.outputs / "x").as_uri()) == expected


def test_an_adapter_is_an_ancestor_with_its_config(deployment, lineage):
    folder = deployment.models / "adapter"
    folder.mkdir()
    for name, content in adapter().items():
        (folder / name).write_bytes(content)
    deployment.submit(instruct="local://models/adapter", lambdas=[1.0], output_name="x")
    deployment.deliver()
    assert ancestors(lineage, (deployment.outputs / "x").as_uri())["instruct"] == checkpoint_of(folder)


def test_lineage_is_there_with_the_output_and_not_before(deployment, lineage):
    job = deployment.merged(lambdas=[0.5], output_name="x")
    deployment.store.away = {"publish_output"}
    with pytest.raises(StoreUnavailable):
        deployment.publish(job.id)
    uri = (deployment.outputs / "x").as_uri()
    assert deployment.visible() == ["x"]
    with pytest.raises(LineageNotFound):
        lineage.of_uri(uri)
    deployment.store.away = set()
    deployment.publish(job.id, owner="control-2")
    assert len(lineage.of_uri(uri).matches) == 1
