"""What the settings say signs, as a key or as a command; a command's word is checked, and its failures are named."""

import json
import os
import signal
import sys
import textwrap
import time

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from crossfade_core.errors import KeyMalformed, ProgramMissing, SigningFailed
from crossfade_signing import command_signer
from crossfade_signing.command_signer import CommandSigner
from crossfade_signing.settings import SigningSettings
from crossfade_signing.signers import KeySigner, open_signer
from crossfade_stores.settings import describe_invalid
from tests.cli.children import is_running
from tests.system.serving import wait_for

SIGN = """
    import base64, sys
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
    print(base64.encodebytes(key.sign(sys.stdin.buffer.read(), ec.ECDSA(SHA256()))).decode())
"""


class Process(SigningSettings, BaseSettings):
    """A process's settings."""

    model_config = SettingsConfigDict(env_prefix="CROSSFADE_", frozen=True, extra="forbid")


def python(script, *arguments):
    return (sys.executable, "-c", textwrap.dedent(script), *map(str, arguments))


def test_nothing_signs_where_nothing_is_set():
    assert open_signer(Process()) is None
    assert not Process().signs


def test_key_comes_from_the_environment_or_a_file(pair, monkeypatch):
    monkeypatch.setenv("CROSSFADE_SIGNING_KEY", pair.private_file.read_text())
    signers = [open_signer(Process())]
    assert pair.private_file.read_text().splitlines()[1] not in f"{Process()!r}{Process().model_dump_json()}"
    monkeypatch.delenv("CROSSFADE_SIGNING_KEY")
    monkeypatch.setenv("CROSSFADE_SIGNING_KEY_FILE", str(pair.private_file))
    signers.append(open_signer(Process()))
    assert [signer.key_id for signer in signers] == [pair.public.key_id] * 2
    assert Process().signs


def test_command_comes_from_the_environment_and_signs(pair, monkeypatch):
    monkeypatch.setenv("CROSSFADE_SIGNING_COMMAND", json.dumps(python(SIGN, pair.private_file)))
    monkeypatch.setenv("CROSSFADE_SIGNING_PUBLIC_KEY_FILE", str(pair.public_file))
    signer = open_signer(Process())
    assert (signer.key_id, signer.public_pem) == (pair.public.key_id, pair.public_file.read_bytes())
    data = b"payload" * 1_000_000  # more than any pipe holds
    assert pair.public.verifies(signer.sign(data), data)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"signing_key": "hunter2"}, "CROSSFADE_SIGNING_KEY: the value: an unencrypted EC P-256"),
        ({"signing_key": ""}, "CROSSFADE_SIGNING_KEY: the value: an unencrypted EC P-256"),
        ({"signing_key_file": "hunter2.pem"}, "CROSSFADE_SIGNING_KEY_FILE: must be an absolute path"),
        (
            {"signing_key_file": "/x", "signing_command": ["y"]},
            "SIGNING_KEY_FILE and CROSSFADE_SIGNING_COMMAND are set",
        ),
        ({"signing_command": ["y"]}, "set both or neither"),
        ({"signing_public_key_file": "/y"}, "set both or neither"),
        ({"signing_command": [""], "signing_public_key_file": "/y"}, "CROSSFADE_SIGNING_COMMAND (0)"),
        ({"signing_command": "y"}, "CROSSFADE_SIGNING_COMMAND"),
        ({"signing_command_seconds": 0}, "CROSSFADE_SIGNING_COMMAND_SECONDS"),
    ],
)
def test_nonsense_is_refused_by_name_and_never_shown(settings, words):
    with pytest.raises(ValidationError) as caught:
        SigningSettings.model_validate(settings)
    line = describe_invalid(caught.value)
    assert words in line
    assert "hunter2" not in line


def test_what_only_the_disk_can_tell_is_refused_when_the_signer_is_opened(pair, tmp_path):
    with pytest.raises(KeyMalformed, match="no such file"):
        open_signer(SigningSettings(signing_key_file=tmp_path / "none"))
    with pytest.raises(ProgramMissing, match="there is no program 'no-such-program'"):
        open_signer(SigningSettings(signing_command=("no-such-program",), signing_public_key_file=pair.public_file))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; sys.exit('the \\x1b HSM is away')", r"ended with status 1: the \? HSM is away"),
        ("raise SystemExit(3)", "ended with status 3: it said nothing"),
        ("print('no base64!')", "printed no base64"),
        ("print('YWJj')", "that the public key [0-9a-f]{64} does not verify"),
        ("pass", "does not verify"),
        ("print('A' * 1_000_000)", "printed more than 4096 bytes"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9"),
    ],
)
def test_command_that_does_not_sign_is_named_with_its_last_words(pair, script, words):
    signer = CommandSigner(python(script), pair.public, 30)
    with pytest.raises(SigningFailed, match=words) as caught:
        signer.sign(b"hunter2")
    assert "hunter2" not in caught.value.message


def test_signature_by_another_key_is_not_used(pair, new_pair):
    signer = CommandSigner(python(SIGN, new_pair("other").private_file), pair.public, 30)
    with pytest.raises(SigningFailed, match="does not verify"):
        signer.sign(b"data")


def test_command_that_hangs_ends_with_all_it_started(pair, tmp_path):
    hangs = ("sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; sleep 600")
    started = time.monotonic()
    with pytest.raises(SigningFailed, match="gave no signature within 10 s"):
        CommandSigner(hangs, pair.public, 10).sign(b"data")
    assert time.monotonic() - started < 120
    child = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_running(child))


@pytest.fixture
def left_behind(tmp_path):
    """Return the head of a shell script that leaves a helper in a session of its own, which keeps its pipes open."""
    yield f"setsid sh -c 'echo $$ > {tmp_path}/helper; exec sleep 300' & "
    os.kill(int((tmp_path / "helper").read_text()), signal.SIGKILL)


def test_signature_of_a_command_whose_helper_stays_is_taken_at_once(pair, left_behind, tmp_path):
    sign = f"openssl dgst -sha256 -sign {pair.private_file} | base64"
    script = f"{left_behind} {sign}; until test -s {tmp_path}/helper; do :; done"
    started = time.monotonic()
    signature = CommandSigner(("sh", "-c", script), pair.public, 280).sign(b"data")
    assert time.monotonic() - started < 120
    assert pair.public.verifies(signature, b"data")


def test_command_that_hangs_while_its_helper_stays_ends_in_time(pair, left_behind):
    started = time.monotonic()
    with pytest.raises(SigningFailed, match="gave no signature within 10 s"):
        CommandSigner(("sh", "-c", f"{left_behind} sleep 300"), pair.public, 10).sign(b"data")
    assert time.monotonic() - started < 120


def test_helper_that_never_stops_talking_keeps_nobody_waiting(pair):
    script = f"setsid yes >&2 & openssl dgst -sha256 -sign {pair.private_file} | base64"
    signature = CommandSigner(("sh", "-c", script), pair.public, 30).sign(b"data")
    assert pair.public.verifies(signature, b"data")


def test_command_that_has_closed_its_pipes_is_waited_for_as_long_as_any(pair):
    with pytest.raises(SigningFailed, match="gave no signature within 1 s"):
        CommandSigner(("sh", "-c", "exec >&- 2>&-; sleep 300"), pair.public, 1).sign(b"data")


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_command_of_another_user_that_hangs_is_let_go(pair, monkeypatch, tmp_path):
    left: list[int] = []

    def may_not(group: int, signal_number: int) -> None:
        left.append(group)
        raise PermissionError

    monkeypatch.setattr(os, "killpg", may_not)
    monkeypatch.setattr(command_signer, "_KILLED_SECONDS", 0.1)
    with pytest.raises(SigningFailed, match="gave no signature within 1 s"):
        CommandSigner(("sleep", "300"), pair.public, 1).sign(b"data")
    os.kill(left[0], signal.SIGKILL)
    os.waitpid(left[0], 0)


def test_command_sees_none_of_our_variables_and_all_others(pair, monkeypatch):
    monkeypatch.setenv("CROSSFADE_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("KMS_REGION", "eu-1")
    script = "import os, sys; sys.exit(str([n for n in os.environ if n[:4] in ('CROS', 'KMS_')]))"
    with pytest.raises(SigningFailed, match=r"\['KMS_REGION'\]"):
        CommandSigner(python(script), pair.public, 30).sign(b"data")
    assert os.environ["CROSSFADE_DATABASE_URL"]


def test_both_signers_have_the_same_face(pair):
    command = CommandSigner(python(SIGN, pair.private_file), pair.public, 30)
    key = pair.signer
    assert isinstance(key, KeySigner)
    assert (command.key_id, command.public_pem) == (key.key_id, key.public_pem)
