"""A job reads from any registry and publishes to any other; whatever goes wrong, it ends right or says what it met."""

import contextlib
import random
import re
import shutil

import pytest

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import JobId
from crossfade_stores.engine import create_store_engine
from crossfade_stores.schema import upgrade
from tests.fakes.checkpoints import Pair, random_pair, small_files, write_checkpoint
from tests.fakes.http_faults import Disconnect, LoseAnswer, ShortAnswer, Slow, Status, WrongBytes
from tests.ports.places import LocalPlace
from tests.ports.service import PlacedDeployment, digests
from tests.worker.deployment import LEASE_SECONDS

LAMBDAS = (0.0, 0.5, 1.0)
KINDS = ("local", "s3", "hub")
WAYS = [*((source, destination) for source in KINDS for destination in (*KINDS, "xet")), ("xet", "xet")]
SHARD = "model.safetensors"
SHARD_BYTES = 12 << 20
HEADERS = 5
"""Requests for a shard's bytes that planning the small pair takes: one a file."""

OF_A_SOURCE = {
    "500": Status(500),
    "503": Status(503),
    "429": Status(429, {"Retry-After": "1"}),
    "cut in the middle": Disconnect(after_bytes=1_000),
    "short": ShortAnswer(1_000),
    "slow": Slow(20_000),
}
OF_A_DESTINATION = {
    "503": Status(503),
    "429": Status(429, {"Retry-After": "1"}),
    "cut in the middle": Disconnect(after_bytes=1_000),
}

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the Hub client's own


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    file = tmp_path_factory.mktemp("database") / "empty.db"
    engine = create_store_engine(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture
def deployed(tmp_path, empty_database):
    """Deploy between two places."""
    with contextlib.ExitStack() as stack:

        def deploy(source, destination, **options):
            engine = create_store_engine(f"sqlite:///{shutil.copy(empty_database, tmp_path / 'crossfade.db')}")
            stack.callback(engine.dispose)
            deployment = PlacedDeployment(tmp_path / "machine", engine, source, destination, **options)
            stack.callback(lambda: check_claims(deployment))
            return deployment

        yield deploy


@pytest.fixture(scope="module")
def expected(tmp_path_factory, empty_database):
    """What the small pair gives from folder to folder."""
    folder = tmp_path_factory.mktemp("expected")
    engine = create_store_engine(f"sqlite:///{shutil.copy(empty_database, folder / 'crossfade.db')}")
    place = LocalPlace(folder / "place")
    deployment = PlacedDeployment(folder / "machine", engine, place, place)
    assert deployment.run(lambdas=list(LAMBDAS)).state == "SUCCEEDED"
    engine.dispose()
    return deployment.merged_files()


@pytest.fixture(scope="module")
def large_pair(tmp_path_factory):
    """Two shards a side, alike but for their numbers, each of more than two parts of an upload."""
    chance, folder = random.Random(5), tmp_path_factory.mktemp("large")
    names = [f"model.layers.{number}.mlp.down_proj.weight" for number in range(4)]
    shape = (SHARD_BYTES // 4 // 1024, 1024)

    def checkpoint(role):
        tensors = {name: ("BF16", shape, finite(chance)) for name in names}
        return write_checkpoint(folder / role, tensors, shards=[names[:2], names[2:]], extra_files=small_files(role))

    return Pair(checkpoint("base"), checkpoint("instruct"))


@pytest.fixture(params=["s3", "hub"])
def from_remote(request, new_place, deployed):
    """A deployment that reads from a place behind HTTP and publishes into a folder."""
    return deployed(new_place(request.param), new_place("local"))


@pytest.fixture(params=["s3", "hub"])
def to_remote(request, new_place, deployed):
    """A deployment that reads from a folder and publishes to a place behind HTTP."""
    return deployed(new_place("local"), new_place(request.param))


def check_claims(deployment):
    assert deployment.broken_claims == []


def check_succeeds(deployment, expected, *, lambdas=(0.5,), **changes):
    job = deployment.run(lambdas=list(lambdas), **changes)
    assert (job.state, job.error) == ("SUCCEEDED", None)
    assert deployment.merged_files() == outputs(expected, *lambdas)
    assert deployment.destination.staged() == set()


def outputs(expected, *lambdas):
    names = tuple(f"tuned-{lam}/" for lam in lambdas)
    return {path: sha256 for path, sha256 in expected.items() if path.startswith(names)}


def check_failed(deployment, job, *named):
    """Hold that a job failed over something it names, that nothing of it shows, and that no message tells a secret."""
    error = deployment.job(job).error or {}
    assert deployment.job(job).state == "FAILED"
    assert [name for name in named if name not in error["message"]] == [], error
    assert deployment.destination.visible() == {}
    assert deployment.destination.staged() == set()
    secrets = [*deployment.source.secrets, *deployment.destination.secrets]
    assert not [secret for secret in secrets if secret in str(error)]
    return error


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
    pair = large_pair
    place = new_place(kind)
    deployment = deployed(place, place, pair=pair, chunk_bytes=1 << 18)
    job = deployment.run(lambdas=[0.0, 1.0])
    assert (job.state, job.error) == ("SUCCEEDED", None)
    assert place.staged() == set()
    published = place.visible()
    for role, lam in (("base", 0.0), ("instruct", 1.0)):
        for path in getattr(pair, role).glob("*.safetensors"):
            assert tensors_of(published[f"tuned-{lam}/{path.name}"]) == tensors_of(path.read_bytes())
            fetched, size = place.read_bytes(role)[path.name], path.stat().st_size
            assert size <= fetched <= size + (128 << 10), "the bytes once, and its beginning for the header"


@pytest.mark.parametrize("fault", OF_A_SOURCE)
def test_job_is_right_after_faults_of_its_source(from_remote, expected, fault):
    from_remote.source.fail(Status(503), "list")
    for skip in (0, HEADERS):
        from_remote.source.fail(OF_A_SOURCE[fault], "read", skip=skip)
    check_succeeds(from_remote, expected)


def test_source_that_stays_away_fails_the_job_which_then_works_again(from_remote, expected):
    from_remote.source.fail(Status(503), "read", skip=HEADERS, times=None)
    job = from_remote.run(lambdas=[0.5])
    error = check_failed(from_remote, job, "://", "/base", ".safetensors: ")
    assert error["code"] == "source_unavailable"
    from_remote.source.heal()
    check_succeeds(from_remote, expected)


@pytest.mark.parametrize("kind", ["local", "s3", "hub"])
@pytest.mark.parametrize("when", ["at a listing", "at a read"])
def test_file_replaced_during_the_job_is_noticed_or_does_no_harm(new_place, deployed, expected, kind, when):
    deployment = deployed(new_place(kind), new_place("local"))
    job, units = deployment.planned(lambdas=[0.5])
    file = sorted(path.name for path in deployment.pair.base.glob("*.safetensors"))[0]

    def replace(_):
        content = (deployment.pair.base / file).read_bytes()
        deployment.source.replace("base", file, content[:-64] + bytes(64))

    if when == "at a listing":
        replace(None)
    else:
        deployment.on_next_read(replace, file)
    for unit in units:
        deployment.run_unit(unit.id)
    deployment.deliver()
    if deployment.source.has_fixed_uris:
        assert deployment.job(job).state == "SUCCEEDED"
        assert deployment.merged_files() == outputs(expected, 0.5)
    else:
        error = check_failed(deployment, job, f"{deployment.uris['base']}/{file}", "submit the job again")
        assert error["code"] == "source_changed"
        deployment.source.replace("base", file, (deployment.pair.base / file).read_bytes())
        check_succeeds(deployment, expected)


@pytest.mark.parametrize("kind", ["s3", "hub"])
def test_wrong_byte_from_the_source_is_never_published(new_place, deployed, tmp_path, kind):
    pair = random_pair(tmp_path / "pair", base_shards=None, instruct_shards=None)
    deployment = deployed(new_place(kind), new_place("local"), pair=pair)
    right = deployment.run(lambdas=[0.5], output_name="right")
    deployment.source.fail(WrongBytes(at=2_000), "read", skip=len(pair))
    spoiled = deployment.run(lambdas=[0.5], output_name="spoiled")
    assert (right.state, spoiled.state) == ("SUCCEEDED", "SUCCEEDED"), "the unit is run again"
    spoiled_file, right_file = (deployment.destination.published(name)[SHARD] for name in ("spoiled", "right"))
    assert spoiled_file == right_file


def test_shard_that_always_comes_wrong_fails_the_job_and_is_named(new_place, deployed, tmp_path):
    pair = random_pair(tmp_path / "pair", base_shards=None, instruct_shards=None)
    deployment = deployed(new_place("hub"), new_place("local"), pair=pair)
    job, units = deployment.planned(lambdas=[0.5])
    deployment.source.fail(WrongBytes(at=2_000), "read", times=None)
    for unit in units:
        deployment.run_unit(unit.id)
    deployment.deliver()
    error = check_failed(deployment, job, "hf://acme/", f"/{SHARD}: ", "SHA-256")
    assert error["code"] == "source_corrupted"


def test_source_that_refuses_its_credential_meanwhile_fails_the_job(from_remote):
    job, units = from_remote.planned(lambdas=[0.5])
    from_remote.source.revoke()
    for unit in units:
        from_remote.run_unit(unit.id)
    from_remote.deliver()
    error = check_failed(from_remote, job, from_remote.uris["base"].partition("@")[0], "credential")
    assert error["code"] == "source_denied"


@pytest.mark.parametrize("moment", ["send small", "publish"])
@pytest.mark.parametrize("fault", OF_A_DESTINATION)
def test_job_is_right_after_a_fault_of_its_destination(to_remote, expected, fault, moment):
    to_remote.destination.fail(OF_A_DESTINATION[fault], moment, output="tuned-0.5")
    check_succeeds(to_remote, expected)


def test_destination_that_takes_no_shard_fails_the_job_which_then_works_again(to_remote, expected):
    to_remote.destination.fail(Status(503), "send small", times=None)
    job = to_remote.run(lambdas=[0.5])
    error = check_failed(to_remote, job, "/tuned-", ".safetensors")
    assert error["code"] == "sink_unavailable"
    to_remote.destination.heal()
    check_succeeds(to_remote, expected)


def test_output_that_cannot_be_published_shows_nothing_while_the_others_are_there(to_remote, expected):
    to_remote.destination.fail(Status(503), "publish", output="tuned-0.5", times=None)
    job = to_remote.run(lambdas=[0.0, 0.5])
    assert to_remote.states(job) == ("PARTIALLY_SUCCEEDED", ["PUBLISHED", "FAILED"])
    assert "tuned-0.5" in job.error["message"]
    assert to_remote.destination.published("tuned-0.5") == {}
    assert to_remote.destination.staged() == set()
    to_remote.destination.heal()
    check_succeeds(to_remote, expected, lambdas=[0.0, 0.5], overwrite=True)


def test_lost_answer_to_the_commit_is_no_failure(to_remote, expected):
    for lam in (0.0, 0.5):
        to_remote.destination.fail(LoseAnswer(), "publish", output=f"tuned-{lam}")
    check_succeeds(to_remote, expected, lambdas=[0.0, 0.5])


def test_destination_that_refuses_its_credential_meanwhile_fails_the_job(to_remote):
    job, units = to_remote.planned(lambdas=[0.5])
    to_remote.destination.revoke()
    for unit in units:
        to_remote.run_unit(unit.id)
    to_remote.deliver()
    to_remote.destination.heal()
    error = check_failed(to_remote, job, "/tuned-", "credential")
    assert error["code"] == "sink_denied"


@pytest.mark.parametrize("kind", KINDS)
def test_worker_that_dies_over_half_an_upload_is_followed_by_one_that_ends_the_job(
    new_place, deployed, large_pair, kind
):
    pair = large_pair
    deployment = deployed(new_place("local"), new_place(kind), pair=pair, chunk_bytes=1 << 18)
    job, units = deployment.planned(lambdas=[0.0])
    unit = deployment.store.claim_unit(units[0].id, "merge-dead", LEASE_SECONDS)
    file, content = unit.shard["file"], (pair.base / unit.shard["file"]).read_bytes()
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
    deployment.publish(JobId(job.id))
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"])
    assert deployment.merged_files() == outputs(expected, 0.5)
    assert deployment.destination.visible() == shown
    assert deployment.destination.staged() == set()


def tensors_of(shard):
    """Return the bytes of a large shard behind its header, which an output has of its own."""
    return shard[-SHARD_BYTES:]


def finite(chance):
    """Return half a shard of bf16 numbers below 2: the exponent's first bit is taken off."""
    content = bytearray(chance.randbytes(SHARD_BYTES // 2))
    content[1::2] = content[1::2].translate(bytes(byte & 0xBF for byte in range(256)))
    return bytes(content)
