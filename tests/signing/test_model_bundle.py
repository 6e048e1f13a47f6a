"""`model.sig` between us and the official `model_signing`: theirs accepts ours, and we read theirs."""

import hashlib
import json
from pathlib import Path

import model_signing
import pytest
from model_signing import hashing

from crossfade_core.errors import (
    CheckpointError,
    DuplicateKey,
    SignatureInvalid,
    SignatureMalformed,
    SignatureUnsupported,
)
from crossfade_core.in_toto import PAYLOAD_TYPE
from crossfade_core.model_manifest import Manifest, manifest_statement, read_manifest
from crossfade_core.own_files import UNSIGNED
from crossfade_signing import dsse, model_bundle

FILES = {
    "model-00001-of-00002.safetensors": b"a" * 1000,
    "model-00002-of-00002.safetensors": b"b",
    "Zeichen-é.json": b"{}",
    "config.json": b'{"model_type": "llama"}',
    "empty.txt": b"",
}


def digests(files=FILES):
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def write(folder: Path, files=FILES) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def verify_officially(folder: Path, pair) -> None:
    verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=pair.public_file)
    verifying.verify(folder, folder / "model.sig")


def sign_officially(folder: Path, pair, hashing_config=None) -> bytes:
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=pair.private_file)
    if hashing_config is not None:
        config.set_hashing_config(hashing_config)
    config.sign(folder, folder.parent / "official.sig")
    return (folder.parent / "official.sig").read_bytes()


@pytest.fixture
def signed(tmp_path, pair):
    """A folder with a `model.sig` of ours."""
    folder = write(tmp_path / "model")
    (folder / "model.sig").write_bytes(model_bundle.sign(digests(), pair.signer, name="model"))
    return folder


def test_official_verifier_accepts_ours(signed, pair, capsys):
    verify_officially(signed, pair)
    assert capsys.readouterr().out == ""  # it warns there of a bundle that does not name its key


def test_official_verifier_accepts_ours_after_the_hub_has_added_and_people_edited_what_they_do(signed, pair):
    write(signed / ".eval_results", {"scores.yaml": b"x"})
    (signed / ".gitattributes").write_text("*.safetensors filter=lfs")
    (signed / "README.md").write_text("edited")
    verify_officially(signed, pair)


@pytest.mark.parametrize("change", ["bit", "missing", "extra", "renamed"])
def test_official_verifier_refuses_a_changed_folder(signed, pair, change):
    shard = signed / "model-00002-of-00002.safetensors"
    match change:
        case "bit":
            shard.write_bytes(b"c")
        case "missing":
            shard.unlink()
        case "extra":
            (signed / "modeling.py").write_text("")
        case "renamed":
            shard.rename(signed / "model-00003-of-00002.safetensors")
    with pytest.raises(ValueError, match="Signature mismatch"):
        verify_officially(signed, pair)


def test_official_verifier_refuses_another_key(signed, new_pair):
    with pytest.raises(ValueError, match="Key mismatch"):
        verify_officially(signed, new_pair("other"))


def test_ours_is_read_again(pair, new_pair):
    bundle = model_bundle.sign({**digests(), "README.md": "0" * 64, "model.sig": "0" * 64}, pair.signer)
    manifest = model_bundle.read(bundle, [new_pair("other").public, pair.public])
    assert (manifest.files, manifest.ignore_paths) == (digests(), UNSIGNED)
    assert manifest.key_id == pair.public.key_id
    assert model_bundle.read(bundle, []).key_id is None


def test_one_output_has_one_signature_whatever_the_order_of_its_files(pair):
    backwards = dict(reversed(digests().items()))
    assert model_bundle.sign(digests(), pair.signer) == model_bundle.sign(backwards, pair.signer)


def test_official_bundle_is_read(tmp_path, pair):
    files = {**FILES, "tokenizer/vocab.json": b"{}"}
    config = hashing.Config().set_ignored_paths(paths=["notes.txt"])
    bundle = sign_officially(write(tmp_path / "model", {**files, "notes.txt": b"mine"}), pair, config)
    manifest = model_bundle.read(bundle, [pair.public])
    assert (manifest.files, manifest.key_id) == (digests(files), pair.public.key_id)
    assert {"notes.txt", ".gitattributes"} <= set(manifest.ignore_paths)


def test_subject_is_the_digest_that_the_official_package_computes(tmp_path, pair):
    bundle = json.loads(sign_officially(write(tmp_path / "model"), pair))
    theirs = json.loads(dsse.verify_object(bundle["dsseEnvelope"], PAYLOAD_TYPE, [pair.public], "x").payload)
    ours = manifest_statement(Manifest(digests(), name="model"))
    assert ours["subject"] == theirs["subject"]
    assert ours["predicate"]["resources"] == theirs["predicate"]["resources"]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (hashing.Config().use_shard_serialization(shard_size=500), "shards"),
        (hashing.Config().use_file_serialization(hashing_algorithm="blake2"), "blake2"),
        (hashing.Config().use_file_serialization(hashing_algorithm="blake3"), "blake3"),
    ],
)
def test_official_bundle_of_another_kind_is_named_as_not_supported(tmp_path, pair, config, found):
    bundle = sign_officially(write(tmp_path / "model"), pair, config)
    with pytest.raises(SignatureUnsupported, match=f"{found}.*not supported"):
        model_bundle.read(bundle, [pair.public])


def test_signature_by_another_key_names_the_expected_and_the_found(pair, new_pair):
    other = new_pair("other")
    with pytest.raises(SignatureInvalid) as caught:
        model_bundle.read(model_bundle.sign(digests(), other.signer), [pair.public])
    assert caught.value.details["expected"] == [pair.public.key_id]
    assert caught.value.details["found"] == [other.public.key_id]


def resign(pair, **changes) -> bytes:
    """Return a bundle, rightly signed, whose statement is changed."""
    statement = {**manifest_statement(Manifest(digests())), **changes}
    bundle = json.loads(model_bundle.sign(digests(), pair.signer))
    envelope = dsse.sign_object(json.dumps(statement).encode(), "application/vnd.in-toto+json", pair.signer)
    return json.dumps({**bundle, "dsseEnvelope": envelope}).encode()


PREDICATE = manifest_statement(Manifest(digests()))["predicate"]
RESOURCE = PREDICATE["resources"][0]


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": []},
        {"subject": [{"name": "x", "digest": {"sha256": "0" * 64}}]},
        {"subject": [{"name": "x", "digest": 7}]},
        {"subject": [7]},
        {"subject": 7},
        {"predicate": 7},
        {"predicate": {**PREDICATE, "resources": []}},
        {"predicate": {**PREDICATE, "resources": 7}},
        {"predicate": {**PREDICATE, "resources": [7]}},
        {"predicate": {**PREDICATE, "resources": [RESOURCE, RESOURCE]}},
        {"predicate": {**PREDICATE, "resources": [{**RESOURCE, "digest": "0"}]}},
        {"predicate": {**PREDICATE, "resources": [{**RESOURCE, "digest": RESOURCE["digest"].upper()}]}},
        {"predicate": {**PREDICATE, "resources": [{**RESOURCE, "algorithm": 7}]}},
        {"predicate": {**PREDICATE, "resources": [{**RESOURCE, "name": "\x1b[2J"}]}},
        {"predicate": {**PREDICATE, "serialization": 7}},
        {"predicate": {**PREDICATE, "serialization": {**PREDICATE["serialization"], "ignore_paths": 7}}},
    ],
)
def test_every_malformed_statement_is_a_named_error_even_rightly_signed(pair, changes):
    with pytest.raises(SignatureMalformed, match=r"^model\.sig: "):
        model_bundle.read(resign(pair, **changes), [pair.public])


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "https://model_signing/Digests/v0.1"},
        {"predicate": {**PREDICATE, "resources": [{**RESOURCE, "algorithm": "sha512"}]}},
    ],
)
def test_statement_of_another_kind_is_named_as_not_supported(pair, changes):
    with pytest.raises(SignatureUnsupported):
        model_bundle.read(resign(pair, **changes), [pair.public])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"mediaType": "application/json", "dsseEnvelope": {}}'],
)
def test_what_is_no_bundle_is_a_named_error(content):
    with pytest.raises(SignatureMalformed):
        model_bundle.read(content, [])


def test_bundle_of_thousands_of_files_is_within_what_readers_accept(pair):
    many = {f"model-{number:05}-of-10000.safetensors": "0f" * 32 for number in range(10_000)}
    bundle = model_bundle.sign(many, pair.signer)
    assert model_bundle.read(bundle, [pair.public]).files == many


def test_too_large_a_bundle_is_refused_unread(pair, monkeypatch):
    monkeypatch.setattr(model_bundle, "MAX_BUNDLE_BYTES", 10)
    with pytest.raises(SignatureMalformed, match="over 10 bytes"):
        model_bundle.read(model_bundle.sign(digests(), pair.signer), [])


def test_key_that_stands_twice_is_refused(pair):
    bundle = model_bundle.sign(digests(), pair.signer).decode()
    with pytest.raises(DuplicateKey):
        model_bundle.read(bundle.replace("{", '{"mediaType": "x",', 1).encode(), [pair.public])


def test_statement_is_read_as_it_was_written():
    manifest = Manifest(digests(), ("a", "b"), "some model")
    assert read_manifest(manifest_statement(manifest), "x") == Manifest(
        dict(sorted(digests().items())), ("a", "b"), "some model"
    )
    with pytest.raises(CheckpointError):
        read_manifest({}, "x")
