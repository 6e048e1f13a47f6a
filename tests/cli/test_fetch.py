"""`crossfade fetch` as its user sees it, over folders; other registries are for tests/ports."""

import json

import pytest

from tests.cli.conftest import Crossfade
from tests.fakes.outputs import OUTPUT_FILES, lineage_of, read_folder, write_output
from tests.fakes.signed_outputs import write_signed_output

DIGEST = "0" * 64


def test_output_lies_where_it_was_asked_for_and_progress_is_told(crossfade: Crossfade, tmp_path):
    output = write_output(tmp_path / "an output")
    (output / "notes\n.txt").write_text("mine")
    ended = crossfade("fetch", output.as_uri(), str(tmp_path / "sub/../model"))
    assert (ended.returncode, ended.stdout) == (0, f"{tmp_path}/model\n")
    assert read_folder(tmp_path / "model") == {**OUTPUT_FILES, "lineage.json": lineage_of(OUTPUT_FILES)}
    lines = ended.stderr.splitlines()
    assert lines[0].startswith("fetching ")
    assert any(line.startswith("fetching 100%") for line in lines)
    assert lines[-1] == "4 files, 20.1 MB, each with the SHA-256 that lineage.json tells"


def test_extra_file_is_named_and_left_out(crossfade: Crossfade, tmp_path):
    output = write_output(tmp_path / "output", {"config.json": b"{}"})
    (output / "notes.txt").write_text("mine")
    ended = crossfade("fetch", output.as_uri(), str(tmp_path / "model"))
    assert "notes.txt is there too, and lineage.json does not tell of it" in ended.stderr.splitlines()
    assert not (tmp_path / "model/notes.txt").exists()


def test_of_very_many_extra_files_the_first_are_named_and_the_others_counted(crossfade: Crossfade, tmp_path):
    output = write_output(tmp_path / "output")
    for number in range(130):
        (output / f"{number:03}.txt").touch()
    ended = crossfade("fetch", output.as_uri(), str(tmp_path / "model"))
    told = [
        line
        for line in ended.stderr.splitlines()
        if "lineage.json does not tell of it" in line or "more are there" in line
    ]
    assert len(told) == 101
    assert told[-1] == "30 more are there, of which lineage.json does not tell"


def test_an_edited_card_and_what_is_signed_come_along_as_they_are(crossfade: Crossfade, tmp_path, key):
    output = write_signed_output(tmp_path / "output", key.signer)
    (output / "README.md").write_text("# mine now")
    ended = crossfade("fetch", output.as_uri(), str(tmp_path / "my model"))
    assert ended.returncode == 0
    assert read_folder(tmp_path / "my model") == read_folder(output)
    hint = f"signed; to see by whom: crossfade verify '{tmp_path}/my model' --key PUBLIC_KEY"
    assert ended.stderr.splitlines()[-1] == hint
    assert crossfade("verify", str(tmp_path / "my model"), "--key", str(key.public_file)).returncode == 0


def test_a_card_that_changed_while_it_was_cut_off_is_fetched_anew(crossfade: Crossfade, tmp_path, key):
    output = write_signed_output(tmp_path / "output", key.signer)
    (output / "README.md").write_text("# a long first card")
    damaged = output / "config.json"
    content = damaged.read_bytes()
    damaged.write_bytes(content[::-1])
    assert crossfade("fetch", output.as_uri(), str(tmp_path / "model")).returncode == 1
    damaged.write_bytes(content)
    (output / "README.md").write_text("# short")
    assert crossfade("fetch", output.as_uri(), str(tmp_path / "model")).returncode == 0
    assert (tmp_path / "model/README.md").read_text() == "# short"


def test_machines_get_one_document(crossfade: Crossfade, tmp_path):
    output = write_output(tmp_path / "output")
    ended = crossfade("fetch", output.as_uri(), str(tmp_path / "model"), "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert (result["path"], result["uri"]) == (str(tmp_path / "model"), output.as_uri())
    assert result["size_bytes"] == sum(map(len, OUTPUT_FILES.values()))
    assert [file["name"] for file in result["files"]] == sorted(OUTPUT_FILES)


def test_folder_that_exists_is_replaced_only_where_asked(crossfade: Crossfade, tmp_path):
    output, model = write_output(tmp_path / "output"), write_output(tmp_path / "model", {"config.json": b"earlier"})
    ended = crossfade("fetch", output.as_uri(), str(model))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"crossfade: {model} exists; choose another folder, or --overwrite\n"
    assert crossfade("fetch", output.as_uri(), str(model), "--overwrite").returncode == 0
    assert read_folder(model)["config.json"] == OUTPUT_FILES["config.json"]


@pytest.mark.parametrize(
    "uri",
    [
        "./folder",
        "local://models/base",
        "hf://acme/model",
        "hf://acme/model@main",
        "file://host/srv/out",
        "file:///",
        "file:///srv/%00",
        "file://[/srv/out",
        "https://example.org/model",
        "s3://bucket",
        "s3://bucket/../other",
    ],
)
def test_what_is_no_uri_of_an_output_is_refused_with_the_forms(crossfade: Crossfade, tmp_path, uri):
    ended = crossfade("fetch", uri, str(tmp_path / "model"))
    assert ended.returncode == 1
    assert "file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME@COMMIT" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_lineage_may_be_held_against_the_digest_that_the_job_shows(crossfade: Crossfade, tmp_path):
    output = write_output(tmp_path / "output")
    ended = crossfade("fetch", output.as_uri(), str(tmp_path / "model"), "--lineage-sha256", DIGEST)
    assert ended.returncode == 1
    assert f"SHA-256 {DIGEST} expected" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
