"""A verification reads every file once, in blocks, and nothing that it need not; what cannot be read is an error."""

import pytest

from crossfade_core.errors import SourceUnavailable
from crossfade_registries.verification.documents import read_documents
from crossfade_registries.verification.files import BLOCK_BYTES, FileChecks
from crossfade_registries.verification.folder import check_unlisted
from crossfade_registries.verification.report import MAX_CHARACTERS, MAX_ROWS, Report
from crossfade_signing.key_pairs import make_key_pair, read_private_key_file
from crossfade_signing.signers import KeySigner
from tests.fakes.signed_outputs import SHARDS, write_signed_output
from tests.fakes.source import MemorySource


@pytest.fixture
def source(tmp_path):
    """A signed output in memory."""
    make_key_pair(tmp_path / "k", tmp_path / "k.pub")
    folder = write_signed_output(tmp_path / "output", KeySigner(read_private_key_file(tmp_path / "k")))
    return MemorySource({path.name: path.read_bytes() for path in folder.iterdir()})


def run(source):
    report, ticks, present = Report(), [], source.files()
    documents = read_documents(source, present, (), report)
    FileChecks(source, present, documents, report).run(lambda *tick: ticks.append(tick))
    return report, ticks


def test_every_file_is_read_once_in_blocks_that_were_announced(source):
    report, ticks = run(source)
    assert report.is_good
    sizes = {name: info.size_bytes for name, info in source.files().items()}
    assert {name: source.read_bytes(name) for name in sizes} == sizes
    assert max(read.size_bytes for read in source.reads if read.file in SHARDS) == BLOCK_BYTES
    announced = {name: end for name, start, end in source.expected if start == 0}
    assert announced.keys() | {"lineage.json", "model.sig", "provenance.intoto.jsonl"} == sizes.keys()
    order = list(dict.fromkeys(read.file for read in source.reads if read.file in announced))
    assert order == [name for name, _, _ in source.expected]
    total_bytes = sum(announced.values())
    assert ticks[-1] == (total_bytes, total_bytes)
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)


def test_file_of_another_size_and_file_that_is_extra_are_not_read(source):
    source.put(SHARDS[0], bytes(7))
    source.put("notes.txt", bytes(9))
    report, _ = run(source)
    assert {check.what for check in report.checks if check.result == "failed"} == {SHARDS[0], "notes.txt"}
    assert source.read_bytes(SHARDS[0]) == source.read_bytes("notes.txt") == 0


def test_document_too_large_is_named_and_not_read(source, monkeypatch):
    monkeypatch.setattr("crossfade_registries.verification.documents.MAX_BYTES", {"lineage.json": 10})
    report, _ = run(source)
    assert ("lineage.json", "failed") in {(check.what, check.result) for check in report.checks}
    assert source.read_bytes("lineage.json") == 0


def test_file_that_cannot_be_read_is_an_error_and_no_finding(source):
    source.fail_at(SHARDS[0], BLOCK_BYTES + 1)
    with pytest.raises(SourceUnavailable):
        run(source)


def test_report_of_many_strays_shows_the_changed_file_and_counts_what_it_leaves_out(source):
    source.put(SHARDS[0], bytes(7))
    source.others = {f"code/{number:06}.py": "a file in a folder" for number in range(5 * MAX_ROWS)}
    source.put("x" * 3 * MAX_CHARACTERS, b"")
    report, _ = run(source)
    check_unlisted(source, report)
    failed = [check for check in report.checks if check.result == "failed"]
    assert failed[0].what == SHARDS[0]
    assert len(failed) == MAX_ROWS + 1
    assert (failed[-1].what, failed[-1].message) == (f"{4 * MAX_ROWS + 2} more", "like these; 100 of them are shown")
    assert report.as_json()["counts"] == {"ok": 1, "failed": 5 * MAX_ROWS + 2, "told": 0, "not_checked": 2}
    assert max(len(check.what) for check in failed) == MAX_CHARACTERS + 1


def test_hidden_entries_are_told_once_and_names_of_dots_are_no_hiding_place(source):
    source.others = dict.fromkeys((".git/a", ".git/b", ".eval_results/x", "..", "../a", "./b"), "a file in a folder")
    report = Report()
    check_unlisted(source, report)
    assert [(check.what, check.result) for check in report.checks] == [
        *((name, "failed") for name in ("..", "../a", "./b")),
        (".git", "told"),
    ]
