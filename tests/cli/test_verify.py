"""`crossfade verify` names everything that was done to an output, and lets pass what may be done to it."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from crossfade_core.own_files import LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE
from crossfade_signing import model_bundle
from tests.cli.conftest import Crossfade
from tests.fakes.signed_outputs import FILES, SHARDS, change_lineage, write_signed_output

CONFIG = "config.json"


@pytest.fixture
def output(tmp_path, key):
    """A signed output."""
    return write_signed_output(tmp_path / "output", key.signer)


@pytest.fixture
def verified(crossfade, key):
    """Verify with the key; return the exit status, and each check but `ok` as (check, what, result, message)."""

    def verify(output, *more):
        ended = crossfade("verify", str(output), "--key", str(key.public_file), "--json", *more)
        assert ended.stderr == ""
        told = json.loads(ended.stdout)
        found = [tuple(check.values()) for check in told["checks"] if check["result"] != "ok"]
        assert told["verified"] == (ended.returncode == 0)
        return ended.returncode, found

    return verify


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_output_as_it_was_published_passes_with_a_readable_report(crossfade: Crossfade, output, key):
    ended = crossfade("verify", str(output), "--key", str(key.public_file))
    assert ended.returncode == 0
    size_bytes = sum(path.stat().st_size for path in output.iterdir() if path.name != SIGNATURE_FILE)
    rows = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert rows == [
        "check what result",
        f"signature model.sig ok by key {key.signer.key_id}",
        f"signature provenance.intoto.jsonl ok by key {key.signer.key_id}",
        f"files 7 files ok {size_bytes} bytes, with the SHA-256 that is told of each",
        "lambda λ = 0.5 ok in lineage.json and in provenance.intoto.jsonl",
        "provenance provenance.intoto.jsonl ok speaks of these 5 files",
        "signature model.sig and provenance.intoto.jsonl ok are signed by the same key",
    ]
    lines = ended.stderr.splitlines()
    assert any(line.startswith("verifying 100%") for line in lines)
    assert lines[-1] == f"{output} is as it was published; signed by key {key.signer.key_id}"


def test_without_a_key_everything_but_the_signer_is_checked(crossfade: Crossfade, output):
    ended = crossfade("verify", output.as_uri())
    assert ended.returncode == 0
    assert ended.stdout.count("not checked  by whom it is was not checked: give --key") == 2
    assert ended.stderr.splitlines()[-1].endswith("is as it was published; who signed it was not checked")
    flip(output / SHARDS[1])
    assert crossfade("verify", output.as_uri()).returncode == 1


def test_one_of_several_keys_is_enough(verified, output, new_key):
    assert verified(output, "--key", str(new_key("other").public_file)) == (0, [])


@pytest.mark.parametrize("name", [*SHARDS, CONFIG])
def test_one_flipped_bit_is_named_with_its_file(verified, output, name):
    flip(output / name)
    status, found = verified(output)
    assert (status, [check[:3] for check in found]) == (
        1,
        [("files", name, "failed"), ("provenance", PROVENANCE_FILE, "failed")],
    )
    assert "expected by lineage.json and model.sig" in found[0][3]
    assert f"1 of its 5 files are not these: {name}" in found[1][3]


def test_truncated_shard_is_named_without_being_read(verified, output):
    with (output / SHARDS[0]).open("r+b") as file:
        file.truncate(10)
    status, found = verified(output)
    assert status == 1
    assert found[0][:2] == ("files", SHARDS[0])
    assert "20000003 bytes expected by lineage.json, 10 found" in found[0][3]


def test_renamed_file_is_named_with_what_it_is_called_now(verified, output):
    (output / SHARDS[1]).rename(output / "model-00003-of-00002.safetensors")
    status, found = verified(output)
    renamed = ("files", SHARDS[1], "failed", "was renamed: model-00003-of-00002.safetensors is it, by its SHA-256")
    assert (status, found[0]) == (1, renamed)
    assert [check[1] for check in found] == [SHARDS[1], PROVENANCE_FILE]


def test_missing_file_is_named(verified, output):
    (output / SHARDS[1]).unlink()
    status, found = verified(output)
    assert (status, found[0][:3]) == (1, ("files", SHARDS[1], "failed"))
    assert "is missing, and lineage.json and model.sig tell of it" in found[0][3]
    change_lineage(output, outputs={})
    assert ("files", SHARDS[1], "failed", "is missing, and model.sig tells of it; get it again") in verified(output)[1]


@pytest.mark.parametrize("name", ["modeling.py", "a\x1b[2J.py", "model-00003-of-00002.safetensors"])
def test_extra_file_is_named(crossfade, verified, output, key, name):
    (output / name).write_bytes(FILES[SHARDS[1]])  # as one that was copied
    assert verified(output) == (
        1,
        [("files", name, "failed", "is extra: no document of the output tells of it; remove it")],
    )
    shown = crossfade("verify", str(output), "--key", str(key.public_file))
    assert "\x1b" not in shown.stdout


def test_two_files_that_changed_places_are_both_named(verified, output):
    first, second = (output / name for name in ("model.safetensors.index.json", CONFIG))
    content = first.read_bytes()
    shutil.copy(second, first)
    second.write_bytes(content)
    status, found = verified(output)
    assert (status, {check[1] for check in found}) == (1, {first.name, second.name, PROVENANCE_FILE})


def test_swapped_config_of_the_same_size_is_named(verified, output):
    (output / CONFIG).write_bytes(FILES[CONFIG].replace(b"llama", b"gemma"))
    status, found = verified(output)
    assert (status, found[0][:3]) == (1, ("files", CONFIG, "failed"))


@pytest.mark.parametrize(("lam", "is_asked"), [(0.75, True), (0.9, False)])
def test_edited_lambda_is_named(verified, output, lam, is_asked):
    change_lineage(output, **{"lambda": lam})
    status, found = verified(output)
    assert status == 1
    told = [check[3] for check in found if check[:3] == ("lambda", LINEAGE_FILE, "failed")]
    assert f"says λ = {lam}, and {PROVENANCE_FILE} says λ = '0.5': one of them was edited" in told
    assert any("its own spec asks for [0.25, 0.5, 0.75]" in words for words in told) == (not is_asked)
    assert any(check[1] == LINEAGE_FILE and "expected by model.sig" in check[3] for check in found)


def test_signature_by_another_key_is_named_with_both(verified, output, key, new_key):
    other = new_key("other")
    shutil.rmtree(output)
    write_signed_output(output, other.signer)
    status, found = verified(output)
    assert (status, [check[:3] for check in found]) == (
        1,
        [("signature", SIGNATURE_FILE, "failed"), ("signature", PROVENANCE_FILE, "failed")],
    )
    assert all(key.signer.key_id in check[3] and other.signer.key_id in check[3] for check in found)


@pytest.mark.parametrize("document", [SIGNATURE_FILE, PROVENANCE_FILE])
def test_one_document_signed_by_another_key_is_named(verified, output, tmp_path, new_key, document):
    other = new_key("other")
    forged = write_signed_output(tmp_path / "forged", other.signer)
    shutil.copy(forged / document, output / document)
    status, found = verified(output)
    assert status == 1
    assert ("signature", document, "failed") in [check[:3] for check in found]
    status, found = verified(output, "--key", str(other.public_file))
    assert status == 1
    assert ("signature", f"{SIGNATURE_FILE} and {PROVENANCE_FILE}", "failed") in [check[:3] for check in found]


def test_removed_signature_is_named_where_the_output_was_signed(verified, crossfade, output):
    (output / SIGNATURE_FILE).unlink()
    status, found = verified(output)
    assert (status, found) == (
        1,
        [
            (
                "signature",
                SIGNATURE_FILE,
                "failed",
                f"is not there, and {PROVENANCE_FILE} is: whoever signs writes both; get it again",
            )
        ],
    )
    assert crossfade("verify", str(output)).returncode == 1


def test_unsigned_output_passes_unless_a_key_is_given(crossfade: Crossfade, verified, tmp_path):
    output = write_signed_output(tmp_path / "output", None)
    ended = crossfade("verify", str(output))
    assert ended.returncode == 0
    assert "note    is not there: nobody vouches for this output" in ended.stdout
    assert verified(output) == (
        1,
        [("signature", SIGNATURE_FILE, "failed", "is not there: the output is not signed, and --key asks by whom")],
    )


def test_edited_lambda_is_named_where_nobody_has_signed_it(crossfade: Crossfade, tmp_path):
    output = write_signed_output(tmp_path / "output", None)
    change_lineage(output, **{"lambda": 0.75})
    ended = crossfade("verify", str(output))
    assert ended.returncode == 1
    assert "λ = 0.75 of 'tuned-pad-0.5'" in " ".join(ended.stdout.split())


def test_provenance_of_another_output_is_named(verified, output, tmp_path, key):
    other = write_signed_output(tmp_path / "other", key.signer, {**FILES, CONFIG: b"{}"}, lam=0.25)
    shutil.copy(other / PROVENANCE_FILE, output)
    status, found = verified(output)
    assert status == 1
    assert ("provenance", PROVENANCE_FILE, "failed") in [check[:3] for check in found]
    assert "2 of its 5 files are not these: config.json, lineage.json" in found[-1][3]
    assert ("files", PROVENANCE_FILE, "failed") in [check[:3] for check in found]


def test_whole_other_output_of_the_same_key_is_no_forgery(verified, tmp_path, key):
    assert verified(write_signed_output(tmp_path / "other", key.signer, lam=0.25)) == (0, [])


@pytest.mark.parametrize("content", [b"# Mine", b"", None])
def test_card_may_be_edited_or_removed_and_that_is_told(verified, output, content):
    card = output / "README.md"
    card.unlink() if content is None else card.write_bytes(content)
    status, found = verified(output)
    assert (status, [check[:3] for check in found]) == (0, [("files", "README.md", "told")])


@pytest.mark.parametrize(("content", "why"), [(b"# Mine", "it was changed"), (None, "is missing, and")])
def test_card_that_somebody_has_signed_may_not(verified, key, monkeypatch, tmp_path, content, why):
    monkeypatch.setattr(model_bundle, "UNSIGNED", (SIGNATURE_FILE,))
    output = write_signed_output(tmp_path / "of-a-signed-card", key.signer)
    assert verified(output) == (0, [])
    card = output / "README.md"
    card.unlink() if content is None else card.write_bytes(content)
    status, ((kind, what, result, told),) = verified(output)
    assert (status, kind, what, result) == (1, "files", "README.md", "failed")
    assert why in told


def test_what_the_hub_adds_is_no_finding_and_what_else_is_hidden_is_told(verified, output):
    (output / ".gitattributes").write_text("*.safetensors filter=lfs")
    (output / ".model.safetensors").write_bytes(FILES[SHARDS[1]])
    for folder in (".eval_results", ".cache", ".git"):
        (output / folder).mkdir()
        (output / folder / "x").write_text("x")
    message = "is hidden, and no document of the output tells of it: it was not looked at"
    assert verified(output) == (
        0,
        [("files", name, "told", message) for name in (".model.safetensors", ".cache", ".git")],
    )


def test_link_is_named_with_where_it_leads(verified, output, tmp_path):
    (output / CONFIG).rename(tmp_path / "elsewhere.json")
    (output / CONFIG).symlink_to(tmp_path / "elsewhere.json")
    status, found = verified(output)
    assert (status, found[0][:3]) == (1, ("files", CONFIG, "failed"))
    assert f"is a symbolic link to {tmp_path}/elsewhere.json" in found[0][3]


def test_snapshot_in_the_hubs_own_cache_passes(verified, output, tmp_path):
    """It is links to blobs, named by their digests."""
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0f6c", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(output.iterdir()):
        shutil.copy(path, blobs / f"{number:064x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:064x}")
    assert verified(snapshot) == (0, [])


def test_folder_pipe_and_link_to_nothing_are_named(verified, output):
    (output / "code").mkdir()
    (output / "link").symlink_to("absent")
    os.mkfifo(output / "pipe")
    status, found = verified(output)
    assert (status, [check[1:] for check in found]) == (
        1,
        [
            (name, "failed", f"is {what}, and an output has none; remove it")
            for name, what in (
                ("code", "a folder"),
                ("link", "a symbolic link that leads to no file"),
                ("pipe", "no plain file"),
            )
        ],
    )


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\x00", b"[]", b'{"schema": "other/1"}', b"[" * 100_000])
def test_lineage_that_is_garbage_is_named_and_the_rest_is_checked(verified, output, garbage):
    (output / LINEAGE_FILE).write_bytes(garbage)
    flip(output / SHARDS[1])
    status, found = verified(output)
    assert status == 1
    assert ("lineage", LINEAGE_FILE, "failed") in [check[:3] for check in found]
    assert {("files", LINEAGE_FILE, "failed"), ("files", SHARDS[1], "failed")} <= {check[:3] for check in found}


@pytest.mark.parametrize("document", [SIGNATURE_FILE, PROVENANCE_FILE])
@pytest.mark.parametrize("garbage", [b"", b"{}", b"{}\n{}", b"\xff", b"[" * 100_000, b'{"a": 1, "a": 2}'])
def test_signed_document_that_is_garbage_is_named(verified, output, document, garbage):
    (output / document).write_bytes(garbage)
    status, found = verified(output)
    assert status == 1
    assert ("signature", document, "failed") in [check[:3] for check in found]


def test_lineage_that_was_removed_is_named(verified, output):
    (output / LINEAGE_FILE).unlink()
    status, found = verified(output)
    assert status == 1
    assert found[0][:3] == ("lineage", LINEAGE_FILE, "failed")


@pytest.mark.parametrize("is_signed", [True, False])
def test_lineage_may_be_held_against_the_digest_that_the_job_shows(crossfade: Crossfade, tmp_path, key, is_signed):
    output = write_signed_output(tmp_path / "output", key.signer if is_signed else None)
    digest = hashlib.sha256((output / LINEAGE_FILE).read_bytes()).hexdigest()
    ended = crossfade("verify", str(output), "--lineage-sha256", digest.upper())
    assert ended.returncode == 0
    assert "has the SHA-256 that was given" in ended.stdout
    ended = crossfade("verify", str(output), "--lineage-sha256", "0" * 64, "--json")
    failed = [check for check in json.loads(ended.stdout)["checks"] if check["result"] == "failed"]
    assert (ended.returncode, [(check["what"], check["message"]) for check in failed]) == (
        1,
        [(LINEAGE_FILE, f"SHA-256 {'0' * 64} expected, {digest} found: it is not the output that was published")],
    )


def test_folder_that_tells_nothing_of_itself_is_an_error(crossfade: Crossfade, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    ended = crossfade("verify", str(tmp_path), "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (1, "no_checkpoint")
    ended = crossfade("verify", str(tmp_path / "none"), "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (1, "source_not_found")


def test_key_that_is_none_is_an_error_with_the_way_out(crossfade: Crossfade, output, tmp_path):
    ended = crossfade("verify", str(output), "--key", str(tmp_path / "k"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "found a private key: keep it to yourself and give its public key" in ended.stderr


def test_machines_get_one_document(crossfade: Crossfade, output, key):
    ended = crossfade("verify", str(output), "--key", str(key.public_file), "--json")
    told = json.loads(ended.stdout)
    assert (told["uri"], told["verified"], told["lambda"]) == (str(output), True, 0.5)
    assert told["signed_by"] == key.signer.key_id
    assert set(told["checks"][0]) == {"check", "what", "result", "message"}
