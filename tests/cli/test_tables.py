"""Tables: whole digests wherever another program may read them."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from crossfade_cli.tables import OutputRow, print_job, print_jobs, print_outputs, rows_of_job, rows_of_output
from crossfade_client.views import JobView
from tests.client.fake_service import DIGEST, SPEC, FakeService

ROWS = [OutputRow(0.1, "/srv/a-long-folder-name/instruct-pad-0.1/model.safetensors", 2_000_000, DIGEST)]


def shown(rows: list[OutputRow], *, width: int, is_terminal: bool = True) -> str:
    stream = io.StringIO()
    print_outputs(rows, Console(file=stream, width=width, force_terminal=is_terminal, color_system=None))
    return stream.getvalue()


def test_off_a_terminal_nothing_is_shortened(capsys: pytest.CaptureFixture[str]):
    long = [OutputRow(0.1, f"/{'x' * 300}/model.safetensors", 5, DIGEST)]
    print_outputs(long)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["λ", "path", "size", "SHA-256"],
        ["0.1", long[0].location, "5", "bytes", DIGEST],
    ]


def test_the_realised_strength_stands_beside_the_requested_one_where_it_is_known(capsys: pytest.CaptureFixture[str]):
    files = [{"name": "model.safetensors", "size_bytes": 5, "sha256": DIGEST}]
    known = rows_of_output(0.1, "/srv/a", files, {"realised": 0.026812})
    unknown = rows_of_output(0.2, "/srv/b", files, {"realised": None})
    print_outputs([*known, *unknown])
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        ["λ", "λ̂", "path"],
        ["0.1", "0.02681", "/srv/a/model.safetensors"],
        ["0.2", "/srv/b/model.safetensors", "5"],
    ]


def test_a_chain_is_shown_as_a_difference(capsys: pytest.CaptureFixture[str]):
    service = FakeService(spec={**SPEC, "instruct": {"delta_of": ["local://m/a", "local://m/b"]}})
    job = JobView.model_validate(service.job())
    print_jobs([job])
    print_job(job)
    assert capsys.readouterr().out.count("local://m/a − local://m/b") == 2


def test_a_narrow_terminal_gets_the_beginning_of_the_digest_and_is_told_so():
    text = shown(ROWS, width=80)
    assert f"{DIGEST[:12]}…" in text
    assert "--json" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_wide_terminal_gets_the_whole_digest():
    assert DIGEST in shown(ROWS, width=200)


def test_a_path_below_the_current_folder_is_shown_relative_on_a_terminal():
    near = [OutputRow(0.1, str(Path.cwd() / "out/model.safetensors"), 5, DIGEST)]
    assert " out/model.safetensors " in shown(near, width=200)
    assert f" {Path.cwd()}/out/model.safetensors " in shown(near, width=1000, is_terminal=False)


def test_there_is_a_row_for_each_safetensors_file_by_name():
    files = [
        {"name": name, "size_bytes": 1, "sha256": f"sha256:{DIGEST}"}
        for name in ("model-00002-of-00002.safetensors", "config.json", "model-00001-of-00002.safetensors")
    ]
    rows = rows_of_output(0.5, "file:///srv/out", files)
    assert [(row.location, row.sha256) for row in rows] == [
        ("/srv/out/model-00001-of-00002.safetensors", DIGEST),
        ("/srv/out/model-00002-of-00002.safetensors", DIGEST),
    ]


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("file:///srv/a%20folder", "/srv/a folder"),
        ("/srv/100%25", "/srv/100%25"),
        ("s3://bucket/x%20y", "s3://bucket/x%20y"),
    ],
)
def test_a_file_uri_is_shown_as_the_path_it_means_and_the_rest_as_it_is(location: str, folder: str):
    files = [{"name": "model.safetensors", "size_bytes": 1, "sha256": DIGEST}]
    assert rows_of_output(0.5, location, files)[0].location == f"{folder}/model.safetensors"


def test_an_output_that_is_not_published_has_a_row_that_says_why():
    job = FakeService().job()
    job["outputs"][0] |= {"state": "FAILED", "error": {"code": "output_exists", "message": "it exists"}}
    assert rows_of_job(JobView.model_validate(job)) == [OutputRow(0.5, "instruct-pad-0.5 (failed: it exists)")]


def test_brackets_in_a_name_are_text_and_no_markup():
    assert "[red]x" in shown([OutputRow(0.1, "[red]x")], width=80)
