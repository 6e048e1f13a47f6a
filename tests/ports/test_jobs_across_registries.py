"""A job reads from any registry and publishes to any other, the same bytes, whoever dies meanwhile."""

import re

import pytest

from crossfade_core.errors import StoreUnavailable
from tests.ports.publishing import IGNORED
from tests.ports.service import LAMBDAS, check_succeeds, digests, of_lambdas, tensors_of
from tests.worker.deployment import LEASE_SECONDS

KINDS = ("local", "s3", "hub")
WAYS = [*((source, destination) for source in KINDS for destination in (*KINDS, "xet")), ("xet", "xet")]

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.mark.parametrize(("source", "destination"), WAYS)
def test_sweep_is_the_same_bytes_between_any_two_registries(new_place, deployed, expected, source, destination):
    deployment = deployed(new_place(source), new_place(destination))
    check_succeeds(deployment, expected, lambdas=LAMBDAS)
    for lineage in deployment.lineages():
        for role, inputs in lineage["inputs"].items():
            assert re.fullmatch(rf"hf://acme/{role}@[0-9a-f]{{40}}|(local|s3)://models/{role}", inputs["uri"])
            assert (inputs["uri"] == deployment.uris[role]) != deployment.source.has_fixed_uris
            folder = getattr(deployment.pair, role)
            held = digests({file: (folder / file).read_bytes() for file in inputs["files"]})
            assert {file: about["sha256"] for file, about in inputs["files"].items()} == held
            assert set(held) >= {path.name for path in folder.glob("*.safetensors")}


def test_store_that_checks_signatures_serves_as_source_and_destination(new_place, deployed, expected):
    place = new_place("swift")
    check_succeeds(deployed(place, place), expected)


@pytest.mark.parametrize("kind", ["s3", "hub", "xet"])
def test_shards_of_several_parts_go_through_with_every_byte_fetched_once(new_place, deployed, large_pair, kind):
    place = new_place(kind)
    deployment = deployed(place, place, pair=large_pair, chunk_bytes=1 << 18)
    job = deployment.run(lambdas=[0.0, 1.0])
    assert (job.state, job.error) == ("SUCCEEDED", None)
    assert place.staged() == set()
    published = place.visible()
    for role, lam in (("base", 0.0), ("instruct", 1.0)):
        for path in getattr(large_pair, role).glob("*.safetensors"):
            assert tensors_of(published[f"tuned-{lam}/{path.name}"]) == tensors_of(path.read_bytes())
            fetched, size = place.read_bytes(role)[path.name], path.stat().st_size
            assert size <= fetched <= size + (128 << 10), "the bytes once, and its beginning for the header"


@pytest.mark.parametrize("kind", KINDS)
def test_worker_that_dies_over_half_an_upload_is_followed_by_one_that_ends_the_job(
    new_place, deployed, large_pair, kind
):
    deployment = deployed(new_place("local"), new_place(kind), pair=large_pair, chunk_bytes=1 << 18)
    job, units = deployment.planned(lambdas=[0.0])
    unit = deployment.store.claim_unit(units[0].id, "merge-dead", LEASE_SECONDS)
    file, content = unit.shard["file"], (large_pair.base / unit.shard["file"]).read_bytes()
    dead = deployment.registries.open_sink(job.spec, job.id).create_file("tuned-0.0", file, len(content))
    dead.write(memoryview(content)[: 6 << 20])
    deployment.restart()
    deployment.clock.advance(LEASE_SECONDS + 1)
    deployment.sweep()
    deployment.deliver()
    for unit in units[1:]:
        deployment.run_unit(unit.id)
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"])
    assert deployment.destination.staged() == set()
    dead.abandon()
    assert tensors_of(deployment.destination.published("tuned-0.0")[file]) == tensors_of(content)


@pytest.mark.parametrize("kind", KINDS)
def test_worker_that_dies_after_the_commit_is_followed_by_one_that_finds_it(new_place, deployed, expected, kind):
    deployment = deployed(new_place("local"), new_place(kind))
    job = deployment.merged(lambdas=[0.5])
    deployment.store.away.add("publish_output")
    with pytest.raises(StoreUnavailable):
        deployment.publish(job.id)
    deployment.store.away.clear()
    shown = deployment.destination.visible()
    assert shown != {}
    deployment.restart()
    deployment.publish(job.id)
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"])
    assert deployment.merged_files() == of_lambdas(expected, 0.5)
    assert deployment.destination.visible() == shown
    assert deployment.destination.staged() == set()
