"""A signed source is checked against the operator's keys: told, or refused; and read once all the same."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from crossfade_core.job import JobState
from crossfade_core.own_files import SIGNATURE_FILE
from crossfade_registries.config import Registries
from crossfade_signing import model_bundle
from crossfade_signing.signers import KeySigner
from tests.worker.deployment import facts_of

SIDES = ("base", "instruct")


@pytest.fixture
def key():
    return KeySigner(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def policy(deployment, key, tmp_path):
    """Configure a policy for a key, as the operator does."""

    def configure(policy, trusted=key):
        file = tmp_path / f"{trusted.key_id}.pub"
        file.write_bytes(trusted.public_pem)
        told = {"source_signatures": policy, "source_keys": (file,)}
        deployment.settings = type(deployment.settings).model_validate({**dict(deployment.settings), **told})
        deployment.registries = Registries(deployment.settings)

    return configure


def sign(folder, key, **changes):
    digests = {name: about["sha256"] for name, about in facts_of(folder).items() if name != SIGNATURE_FILE}
    (folder / SIGNATURE_FILE).write_bytes(model_bundle.sign({**digests, **changes}, key))


def sign_both(deployment, key):
    for side in SIDES:
        sign(getattr(deployment.pair, side), key)


def run(deployment):
    job = deployment.submit(lambdas=[0.5], output_name="x")
    deployment.deliver()
    return deployment.store.get_job(job.id)


def told(deployment):
    record = json.loads((deployment.outputs / "x/lineage.json").read_bytes())
    return {role: side["signature"] for role, side in record["inputs"].items()}


@pytest.mark.parametrize("asked", ["warn", "require"])
def test_sources_signed_by_a_trusted_key_are_verified_and_said_to_be(deployment, key, policy, asked):
    policy(asked)
    sign_both(deployment, key)
    assert run(deployment).state is JobState.SUCCEEDED
    verified = {"state": "verified", "key_id": key.key_id, "reason": None}
    assert told(deployment) == {"base": verified, "instruct": verified}


def test_where_nobody_asks_a_signature_is_not_even_read(deployment, policy):
    policy("ignore")
    for side in SIDES:
        (getattr(deployment.pair, side) / SIGNATURE_FILE).write_text("no signature")
    assert run(deployment).state is JobState.SUCCEEDED
    assert told(deployment) == {"base": None, "instruct": None}


def harm_unsigned(deployment, key):
    sign(deployment.pair.base, key)
    return "source_unsigned"


def harm_other_key(deployment, key):
    sign(deployment.pair.base, key)
    sign(deployment.pair.instruct, KeySigner(ec.generate_private_key(ec.SECP256R1())))
    return "signature_invalid"


def harm_garbage(deployment, key):
    sign(deployment.pair.base, key)
    (deployment.pair.instruct / SIGNATURE_FILE).write_text("{}")
    return "signature_malformed"


def harm_weights(deployment, key):
    sign(deployment.pair.base, key)
    weights = sorted(deployment.pair.instruct.glob("*.safetensors"))[0].name
    sign(deployment.pair.instruct, key, **{weights: "0" * 64})
    return "signature_invalid"


def harm_unlisted(deployment, key):
    sign(deployment.pair.base, key)
    digests = {name: about["sha256"] for name, about in facts_of(deployment.pair.instruct).items()}
    del digests["config.json"]
    (deployment.pair.instruct / SIGNATURE_FILE).write_bytes(model_bundle.sign(digests, key))
    return "signature_invalid"


def harm_planned_from(deployment, key):
    sign_both(deployment, key)
    with (deployment.pair.instruct / "model.safetensors.index.json").open("a") as index:
        index.write(" ")
    return "signature_invalid"


def harm_removed(deployment, key):
    sign_both(deployment, key)
    (deployment.pair.instruct / "tokenizer_config.json").unlink()
    return "signature_invalid"


HARMS = [harm_planned_from, harm_removed, harm_unsigned, harm_other_key, harm_garbage, harm_weights, harm_unlisted]


@pytest.mark.parametrize("harm", HARMS)
def test_required_signatures_that_do_not_hold_publish_nothing_and_say_which_source(deployment, key, policy, harm):
    policy("require")
    code = harm(deployment, key)
    job = run(deployment)
    assert (job.state, job.error["code"]) == (JobState.FAILED, code)
    assert "local://models/instruct" in job.error["message"]
    assert not (deployment.outputs / "x").exists()


@pytest.mark.parametrize("harm", HARMS)
def test_where_signatures_are_only_looked_at_the_output_says_what_does_not_hold(deployment, key, policy, harm):
    policy("warn")
    harm(deployment, key)
    assert run(deployment).state is JobState.SUCCEEDED
    record = told(deployment)
    assert record["base"]["state"] == "verified"
    assert record["instruct"]["state"] == ("unsigned" if harm is harm_unsigned else "unverified")
    assert record["instruct"]["reason"]


def test_the_config_of_the_parent_that_is_not_carried_is_held_against_its_signature_too(deployment, key, policy):
    policy("require")
    sign_both(deployment, key)
    with (deployment.pair.base / "config.json").open("a") as config:
        config.write(" ")
    job = run(deployment)
    assert (job.state, job.error["code"]) == (JobState.FAILED, "signature_invalid")
    assert "local://models/base: not as it was signed: config.json" in job.error["message"]


def test_a_consulted_file_is_read_once_for_all_outputs(deployment):
    reads = []
    job = deployment.submit(lambdas=[0.25, 0.5, 0.75])
    deployment.plan(job.id)
    for unit in deployment.store.list_units(job.id):
        deployment.run_unit(unit.id)
    deployment.on_every_read(reads.append)
    deployment.publish(job.id)
    assert reads.count("model.safetensors.index.json") == 2
