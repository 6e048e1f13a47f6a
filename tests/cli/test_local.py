"""`crossfade merge` against stand-ins for the merging process; the real one is for the system tests."""

import contextlib
import json
import signal
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from crossfade_cli import local, main
from crossfade_cli.local import LocalProgress, MergeProcess, merge
from crossfade_core.errors import ProcessFailed, Reported

DONE = {"event": "done", "baseline_bytes": 1, "peak_bytes": 2, "pass_seconds": 0.5, "seconds": 1.0}
PLAN = {
    "tensors": 3,
    "actions": {"interpolate": 2, "copy_base": 1},
    "out_dtypes": {"BF16": 3},
    "shards": [{"file": "model.safetensors", "size_bytes": 5}],
    "read_bytes": 4_000_000,
    "write_bytes_per_output": 2_000_000,
    "notes": ["the head is tied in both"],
}
EXCEPTION = {"tensor": "rotary.inv_freq", "action": "copy_base", "reason": "only in the base"}
OUTPUT = {
    "event": "output",
    "lambda": 0.5,
    "name": "m-0.5",
    "path": "/srv/out/m-0.5",
    "files": [{"name": "model.safetensors", "size_bytes": 5, "sha256": "ab" * 32}],
    "figures": {"requested": 0.5, "realised": 0.4321},
    "warnings": ["λ = 0.5 was realised as 0.432"],
}
WORK = [
    {"event": "plan", "summary": PLAN, "exceptions": [EXCEPTION]},
    {"event": "progress", "bytes_done": 4, "bytes_total": 8},
    OUTPUT,
]


def stand_in(*events: dict[str, object], then: str = "") -> MergeProcess:
    """A process that reads its job, says `events` and does `then`."""
    script = (
        f"import json, os, sys, time\njob = json.load(sys.stdin)\nfor line in {[json.dumps(e) for e in events]!r}:\n"
    )
    script += "    print(line, flush=True)\n" + textwrap.dedent(then)
    return MergeProcess(("-c", script))


def test_outputs_and_figures_are_returned_and_progress_is_shown():
    shown: list[LocalProgress] = []
    with stand_in(*WORK, DONE) as process:
        result = process.run({"base": "/b"}, shown.append)
    figures = {name: value for name, value in DONE.items() if name != "event"}
    output = {name: value for name, value in OUTPUT.items() if name != "event"}
    assert result.as_json() == {"plan": PLAN, "exceptions": [EXCEPTION], "outputs": [output], **figures}
    assert shown == [LocalProgress(4, 8)]


def test_the_process_gets_the_job_as_one_json_document():
    with stand_in(then="print(json.dumps({'event': 'done', 'got': job}))") as process:
        result = process.run({"base": "/b", "spec": {"lambdas": [0.3]}}, lambda far: None)
    assert result.figures == {"got": {"base": "/b", "spec": {"lambdas": [0.3]}}}


def test_an_error_that_the_process_reports_is_shown_unchanged():
    error = {"code": "plan_refused", "message": "3 tensors do not pair", "blame": "user", "retryable": False}
    with (
        stand_in({"event": "error", "error": error}, then="sys.exit(1)") as process,
        pytest.raises(Reported, match="3 tensors do not pair") as caught,
    ):
        process.run({}, lambda far: None)
    assert caught.value.as_record()["code"] == "plan_refused"


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("sys.exit('no torch here')", "exit code 1: no torch here"),
        ("os.kill(os.getpid(), 9)", "signal SIGKILL: it said nothing"),
        ("", "exit code 0: it said nothing"),
        ("print('oops')", "'oops.n' where an event"),
    ],
)
def test_a_process_that_ends_without_a_word_is_an_error(then: str, reason: str):
    with stand_in(then=then) as process, pytest.raises(ProcessFailed, match=reason):
        process.run({}, lambda far: None)


def test_a_process_that_is_gone_before_it_got_its_job_is_an_error():
    with MergeProcess(("-c", "raise SystemExit('gone')")) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with pytest.raises(ProcessFailed, match="gone"):
            process.run({"spec": "x" * 1_000_000}, lambda far: None)


def test_an_interrupt_lets_the_process_clean_up(tmp_path):
    kept = tmp_path / "cleaned"
    clean = f"""
        try:
            print({json.dumps(WORK[1])!r}, flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            open({str(kept)!r}, "w").close()
    """
    with contextlib.suppress(KeyboardInterrupt), stand_in(WORK[0], then=clean) as process:

        def interrupt(far: LocalProgress) -> None:
            raise KeyboardInterrupt

        process.run({}, interrupt)
    assert kept.exists()
    assert not psutil.pid_exists(process.pid)


def test_a_second_interrupt_kills_a_process_that_does_not_end():
    far = json.dumps(WORK[1])
    stubborn = stand_in(
        WORK[0],
        then=f"import signal\nsignal.signal(2, signal.SIG_IGN)\nprint({far!r}, flush=True)\ntime.sleep(600)",
    )
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    time_limit = signal.getitimer(signal.ITIMER_REAL)

    def interrupt_twice(far: LocalProgress) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        raise KeyboardInterrupt

    try:
        with contextlib.suppress(KeyboardInterrupt), stubborn as process:
            process.run({}, interrupt_twice)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *time_limit)
    assert not psutil.pid_exists(stubborn.pid)


def job_of(monkeypatch, capsys, *args: str) -> dict[str, object]:
    """Return the job that `crossfade merge` gives its process."""
    echo = stand_in(then="print(json.dumps({'event': 'done', 'got': job}))")
    monkeypatch.setattr(local, "MergeProcess", lambda: echo)
    command = ["merge", "b", "i", "--lambda", "0.5", "--out", "o", "--json", *args]
    main.build()(args=command, prog_name="crossfade", standalone_mode=False)
    return json.loads(capsys.readouterr().out)["got"]


def test_the_job_of_the_command_holds_absolute_paths_and_what_was_asked(monkeypatch, capsys):
    here = str(Path.cwd())
    assert job_of(monkeypatch, capsys) == {
        "base": f"{here}/b",
        "instruct": f"{here}/i",
        "out": f"{here}/o",
        "spec": {"lambdas": [0.5]},
        "threads": 0,
        "dry_run": False,
        "write": "auto",
        "sign": None,
    }


def test_the_job_of_a_chain_holds_its_reference_and_what_to_skip_beside_the_terms(monkeypatch, capsys):
    args = ("--minus", "r", "--skip", "*embed*", "--dry-run", "--write", "buffered", "--rule", "*=0.5", "--seed", "7")
    job = job_of(monkeypatch, capsys, *args, "--rounding", "stochastic")
    assert job["reference"] == f"{Path.cwd()}/r"
    assert (job["dry_run"], job["write"]) == (True, "buffered")
    assert job["spec"] == {
        "lambdas": [0.5],
        "skip": ["*embed*"],
        "schedule": [{"pattern": "*", "factor": 0.5}],
        "rounding": "stochastic",
        "seed": 7,
    }


def test_json_is_one_document_and_nothing_else(capsys):
    with stand_in(*WORK, DONE) as process:
        merge(process, {}, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["outputs"][0]["lambda"] == 0.5
    assert err == ""


def test_people_get_a_table(capsys):
    with stand_in(*WORK, DONE) as process:
        merge(process, {}, as_json=False)
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split() == [
        "0.5",
        "0.4321",
        "/srv/out/m-0.5/model.safetensors",
        "5",
        "bytes",
        "ab" * 32,
    ]
    assert "warning: m-0.5: λ = 0.5 was realised as 0.432\n" in err


def test_a_dry_run_shows_the_plan_with_reasons_and_bytes(capsys):
    with stand_in(WORK[0], {"event": "done", "seconds": 0.1}) as process:
        merge(process, {"dry_run": True}, as_json=False)
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["tensors:", "1", "copy_base,", "2", "interpolate"] in lines
    assert ["reads:", "4.0", "MB,", "once", "for", "all", "λ"] in lines
    assert ["writes:", "2.0", "MB", "for", "each", "λ"] in lines
    assert "note:     the head is tied in both" in out
    assert lines[-1] == ["rotary.inv_freq", "copy_base", "only", "in", "the", "base"]
    assert err == ""


def test_a_dry_run_without_exceptions_says_so(capsys):
    with stand_in({"event": "plan", "summary": PLAN, "exceptions": []}, {"event": "done", "seconds": 0.1}) as process:
        merge(process, {"dry_run": True}, as_json=False)
    assert capsys.readouterr().out.endswith("every tensor is plainly interpolated\n")


def test_a_dry_run_of_a_pair_that_does_not_fit_lists_what_is_refused(capsys):
    refusals = [{"tensor": f"t{number}", "reason": "only in the base"} for number in range(5)]
    error = {"code": "plan_refused", "message": "5 tensors cannot be merged", "details": {"refusals": refusals}}
    with (
        stand_in({"event": "error", "error": error}, then="sys.exit(1)") as process,
        pytest.raises(Reported, match="5 tensors"),
    ):
        merge(process, {"dry_run": True}, as_json=False)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "tensor",
        "t0",
        "t1",
        "t2",
        "t3",
        "t4",
    ]
