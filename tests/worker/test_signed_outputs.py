"""What is published is signed from the digests that the stream made, once, and others' tools verify it."""

import json

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from crossfade_core.errors import SigningFailed
from crossfade_core.in_toto import PAYLOAD_TYPE
from crossfade_core.job import JobState, OutputState
from crossfade_core.own_files import CARD_FILE, LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE
from crossfade_core.provenance import Builder
from crossfade_signing.signers import KeySigner
from crossfade_worker.documents import Maker
from tests.worker.deployment import facts_of


class Key:
    """A key of its own that never signs the same twice, as KMS keys do, and may be away."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.made, self.away = [], 0
        self.key_id, self.public_pem = KeySigner(self._key).key_id, KeySigner(self._key).public_pem

    def sign(self, data):
        if self.away:
            self.away -= 1
            raise SigningFailed("the key is away; try later")
        self.made.append(data)
        return self._key.sign(data, ec.ECDSA(SHA256()))


@pytest.fixture
def key(deployment):
    key = Key()
    deployment.maker = Maker(Builder("https://merge.example.org"), key)
    return key


def publish(deployment, **changes):
    job = deployment.submit(lambdas=[0.5], output_name="x", **changes)
    deployment.deliver()
    return job, deployment.outputs / "x"


def public_file(tmp_path, key):
    file = tmp_path / "key.pub"
    file.write_bytes(key.public_pem)
    return file


def official_check(folder, public):
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.verify(folder, folder / SIGNATURE_FILE)


def test_the_official_verifier_accepts_what_is_published_the_card_edited_or_not(deployment, key, tmp_path):
    _, folder = publish(deployment)
    public = public_file(tmp_path, key)
    official_check(folder, public)
    (folder / CARD_FILE).write_text("# mine now")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    official_check(folder, public)
    with (folder / "config.json").open("a") as config:
        config.write(" ")
    with pytest.raises(ValueError, match=r"config\.json"):
        official_check(folder, public)


def test_securesystemslib_verifies_the_envelope_and_its_statement_names_every_file(deployment, key, tmp_path):
    _, folder = publish(deployment)
    (line,) = (folder / PROVENANCE_FILE).read_text().splitlines()
    envelope = Envelope.from_dict(json.loads(line))
    assert envelope.verify([SSlibKey.from_crypto(load_pem_public_key(key.public_pem), key.key_id)], 1)
    assert envelope.payload_type == PAYLOAD_TYPE
    subjects = {row["name"]: row["digest"]["sha256"] for row in json.loads(envelope.payload)["subject"]}
    facts = facts_of(folder)
    for later in (PROVENANCE_FILE, SIGNATURE_FILE, CARD_FILE):
        del facts[later]
    assert subjects == {name: about["sha256"] for name, about in facts.items()}


def test_a_publish_that_was_cut_off_signs_nothing_anew_and_publishes_the_same(deployment, key):
    job = deployment.cut_off_while_publishing(lambdas=[0.5], output_name="x")
    before = facts_of(deployment.outputs / "x")
    assert len(key.made) == 2
    deployment.publish(job.id)
    assert len(key.made) == 2
    assert facts_of(deployment.outputs / "x") == before
    assert deployment.store.get_job(job.id).state is JobState.SUCCEEDED


def test_another_key_after_a_publish_that_was_cut_off_is_an_error_and_no_record_of_what_is_not_there(deployment, key):
    job = deployment.cut_off_while_publishing(lambdas=[0.5], output_name="x")
    deployment.maker = Maker(Builder("https://merge.example.org"), Key())
    deployment.publish(job.id)
    (output,) = deployment.store.list_outputs(job.id)
    assert (output.state, output.error["code"]) == (OutputState.FAILED, "output_exists")
    assert "with another signature" in output.error["message"]


def test_a_key_that_is_away_delays_and_one_that_stays_away_fails_the_output_with_nothing_published(deployment, key):
    key.away = 2
    job, folder = publish(deployment)
    deployment.deliver_through_waits()
    assert deployment.store.get_job(job.id).state is JobState.SUCCEEDED
    key.away = 100
    job = deployment.submit(lambdas=[0.25], output_name="y")
    deployment.deliver_through_waits()
    (output,) = deployment.store.list_outputs(job.id)
    assert (output.state, output.error["code"]) == (OutputState.FAILED, "signing_failed")
    assert not (deployment.outputs / "y").exists()
    assert folder.exists()


def test_without_a_key_nothing_claims_to_be_signed(deployment):
    deployment.maker = Maker(Builder())
    _, folder = publish(deployment)
    assert not (folder / SIGNATURE_FILE).exists()
    assert not (folder / PROVENANCE_FILE).exists()
    assert (folder / LINEAGE_FILE).exists()
