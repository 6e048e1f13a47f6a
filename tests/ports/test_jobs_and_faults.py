"""A job whose source or destination misbehaves ends right, or fails over what it names; then the next one works."""

import pytest

from tests.fakes.checkpoints import random_pair
from tests.fakes.http_faults import Disconnect, LoseAnswer, ShortAnswer, Slow, Status, WrongBytes
from tests.ports.publishing import IGNORED
from tests.ports.service import check_succeeds, of_lambdas

SHARD = "model.safetensors"
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

pytestmark = [pytest.mark.filterwarnings(IGNORED), pytest.mark.slow]


@pytest.fixture(params=["s3", "hub"])
def from_remote(request, new_place, deployed):
    """A deployment that reads from a place behind HTTP and publishes into a folder."""
    return deployed(new_place(request.param), new_place("local"))


@pytest.fixture(params=["s3", "hub"])
def to_remote(request, new_place, deployed):
    """A deployment that reads from a folder and publishes to a place behind HTTP."""
    return deployed(new_place("local"), new_place(request.param))


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


@pytest.mark.parametrize("fault", OF_A_SOURCE)
def test_job_is_right_after_faults_of_its_source(from_remote, expected, fault):
    from_remote.source.fail(Status(503), "list")
    for skip in (0, HEADERS):
        from_remote.source.fail(OF_A_SOURCE[fault], "read", skip=skip)
    check_succeeds(from_remote, expected)


def test_source_that_stays_away_fails_the_job_which_then_works_again(from_remote, expected):
    from_remote.source.fail(Status(503), "read", skip=HEADERS, times=None)
    job = from_remote.run(lambdas=[0.5])
    error = check_failed(from_remote, job, "://", ".safetensors: ")
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
    deployment.deliver_through_waits()
    if deployment.source.has_fixed_uris:
        assert deployment.job(job).state == "SUCCEEDED"
        assert deployment.merged_files() == of_lambdas(expected, 0.5)
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
    deployment.deliver_through_waits()
    error = check_failed(deployment, job, "hf://acme/", f"/{SHARD}: ", "SHA-256")
    assert error["code"] == "source_corrupted"


def test_source_that_refuses_its_credential_meanwhile_fails_the_job(from_remote):
    job, units = from_remote.planned(lambdas=[0.5])
    from_remote.source.revoke()
    for unit in units:
        from_remote.run_unit(unit.id)
    from_remote.deliver_through_waits()
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
    to_remote.deliver_through_waits()
    to_remote.destination.heal()
    error = check_failed(to_remote, job, "/tuned-", "credential")
    assert error["code"] == "sink_denied"
