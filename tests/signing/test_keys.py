"""A key is EC P-256 and nothing else; what was given instead is named in words, and never shown."""

import hashlib
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from crossfade_core.errors import KeyMalformed, OutputExists, SinkUnavailable
from crossfade_signing.key_pairs import keep_key_pair, make_key_pair, read_private_key, read_private_key_file
from crossfade_signing.public_keys import read_public_key, read_public_key_file
from crossfade_signing.signers import KeySigner

P256 = ec.generate_private_key(ec.SECP256R1())
OTHERS = {
    "secp384r1": ec.generate_private_key(ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def private_pem(key, form=PrivateFormat.PKCS8, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def openssl(*arguments, stdin=b"") -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_private_key_is_read_in_both_forms_that_openssl_writes(form):
    key = read_private_key(private_pem(P256, form), "x")
    assert public_pem(key) == public_pem(P256)


def test_key_of_openssl_signs_what_openssl_verifies(tmp_path):
    private_file, public_file = tmp_path / "k.pem", tmp_path / "k.pub"
    private_file.touch(mode=0o600)
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private_file)
    openssl("pkey", "-in", private_file, "-pubout", "-out", public_file)
    (tmp_path / "data").write_bytes(b"data")
    signer = KeySigner(read_private_key_file(private_file))
    (tmp_path / "sig").write_bytes(signer.sign(b"data"))
    said = openssl("dgst", "-sha256", "-verify", public_file, "-signature", tmp_path / "sig", tmp_path / "data")
    assert said == b"Verified OK\n"
    der = openssl("pkey", "-pubin", "-in", public_file, "-outform", "DER")
    assert signer.key_id == hashlib.sha256(der).hexdigest() == read_public_key_file(public_file).key_id
    assert signer.public_pem == public_file.read_bytes()


def test_one_payload_has_one_signature():
    signer = KeySigner(P256)
    assert signer.sign(b"data") == signer.sign(b"data") != signer.sign(b"other")


@pytest.mark.parametrize("kind", OTHERS)
def test_any_other_kind_of_key_is_refused_by_its_kind(kind):
    with pytest.raises(KeyMalformed, match=f"EC P-256 private key .*found .*{kind}"):
        read_private_key(private_pem(OTHERS[kind]), "signing.key")
    with pytest.raises(KeyMalformed, match=f"EC P-256 public key .*found .*{kind}"):
        read_public_key(public_pem(OTHERS[kind]), "signing.pub")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (private_pem(P256, encryption=BestAvailableEncryption(b"secret")), "encrypted"),
        (public_pem(P256), "found a public key"),
        (b"", "cannot be read as one"),
        (b"hunter2", "cannot be read as one"),
        (b"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n", "cannot be read as one"),
    ],
)
def test_what_is_no_private_key_is_refused_and_not_shown(content, words):
    with pytest.raises(KeyMalformed, match=words) as caught:
        read_private_key(content, "signing.key")
    assert caught.value.message.startswith("signing.key: ")
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (private_pem(P256), "found a private key: keep it to yourself"),
        (private_pem(P256, PrivateFormat.TraditionalOpenSSL), "found a private key"),
        (b"-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n", "found a certificate"),
        (P256.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), "found an OpenSSH key"),
        (b"hunter2", "cannot be read as one"),
    ],
)
def test_what_is_no_public_key_is_refused_with_the_way_to_one(content, words):
    with pytest.raises(KeyMalformed, match=words) as caught:
        read_public_key(content, "signing.pub")
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("mode", "is_refused"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True), (0o602, True)]
)
def test_private_key_that_others_may_read_is_refused(tmp_path, mode, is_refused):
    file = tmp_path / "k"
    file.write_bytes(private_pem(P256))
    file.chmod(mode)
    if not is_refused:
        assert read_private_key_file(file)
        return
    with pytest.raises(KeyMalformed, match=f"mode {mode:04o} lets others"):
        read_private_key_file(file)


def test_file_that_is_none_or_no_keys_is_refused(tmp_path):
    with pytest.raises(KeyMalformed, match="no such file"):
        read_public_key_file(tmp_path / "none")
    with pytest.raises(KeyMalformed, match="no plain one"):
        read_public_key_file(tmp_path)
    (tmp_path / "large").write_bytes(bytes(70_000))
    with pytest.raises(KeyMalformed, match="over 65536 bytes"):
        read_public_key_file(tmp_path / "large")


def test_made_pair_is_closed_to_others_and_never_written_over(tmp_path):
    private_file, public_file = tmp_path / "k.pem", tmp_path / "k.pub"
    made = make_key_pair(private_file, public_file)
    assert private_file.stat().st_mode & 0o777 == 0o600
    assert read_public_key_file(public_file) == made
    assert KeySigner(read_private_key_file(private_file)).key_id == made.key_id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.pem", "k.pub"]
    for file in (private_file, public_file):
        with pytest.raises(OutputExists, match="are not written over"):
            make_key_pair(file, tmp_path / "new")
    with pytest.raises(SinkUnavailable):
        make_key_pair(tmp_path / "none/k", tmp_path / "none/k.pub")


def test_kept_pair_is_made_once_and_its_public_key_is_always_there(tmp_path):
    files = tmp_path / "signing.key", tmp_path / "signing.pub"
    kept = keep_key_pair(*files)
    assert keep_key_pair(*files) == kept
    files[1].unlink()
    assert (keep_key_pair(*files), read_public_key_file(files[1])) == (kept, kept)
    files[0].unlink()
    assert keep_key_pair(*files) != kept
    assert read_public_key_file(files[1]) == keep_key_pair(*files)


def test_kept_pair_whose_public_key_cannot_be_replaced_says_so(tmp_path):
    files = tmp_path / "signing.key", tmp_path / "signing.pub"
    keep_key_pair(*files)
    files[1].unlink()
    files[1].mkdir()
    with pytest.raises(SinkUnavailable, match=r"signing\.pub: cannot be replaced"):
        keep_key_pair(*files)
