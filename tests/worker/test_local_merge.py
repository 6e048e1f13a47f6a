"""The merge without a service: one JSON job in, events out, whole outputs or nothing at all."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crossfade_core.in_toto import PAYLOAD_TYPE
from crossfade_signing import dsse, model_bundle
from crossfade_signing.key_pairs import make_key_pair
from tests.fakes.checkpoints import random_pair, write_checkpoint
from tests.worker.deployment import facts_of

COMMAND = [sys.executable, "-m", "crossfade_worker.local_merge"]
BIG_BYTES = 96 << 20


def job(base: Path | str, instruct: Path | str, out: Path | str, sign: str | None = None, **spec: Any) -> str:
    request = {"base": str(base), "instruct": str(instruct), "out": str(out), "threads": 1, "sign": sign}
    return json.dumps({**request, "spec": {"lambdas": [0.0, 0.5], **spec}})


def merge(request: str, cwd: Path | None = None) -> tuple[int, list[dict[str, Any]], str]:
    """Run a merge to its end; return its exit status, its events but progress, and what it wrote to stderr."""
    run = subprocess.run(COMMAND, input=request, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)
    events = [json.loads(line) for line in run.stdout.splitlines()]
    return run.returncode, [event for event in events if event["event"] != "progress"], run.stderr


@pytest.fixture
def big_job(tmp_path: Path) -> str:
    """A merge that takes several seconds: 64 λ of 96 MiB by one thread."""
    tensors = {"weight": ("F32", (BIG_BYTES // 4,), bytes(BIG_BYTES))}
    pair = [write_checkpoint(tmp_path / side, tensors) for side in ("base", "instruct")]
    return job(*pair, tmp_path / "deep/out", lambdas=[number / 64 for number in range(64)])


@contextmanager
def at_work(request: str) -> Iterator[subprocess.Popen[str]]:
    """A merge that has begun to write."""
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        process.stdin.write(request)
        process.stdin.close()
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["bytes_done"]:
                break
        assert 0 < event["bytes_done"] < event["bytes_total"], event
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_sweep_is_told_as_events_and_lies_where_they_say(tmp_path):
    pair = random_pair(tmp_path)
    status, events, errors = merge(job(*pair, tmp_path / "new/out"))
    assert (status, errors) == (0, "")
    plan, *outputs, done = events
    assert plan["event"] == "plan"
    assert plan["summary"]["tensors"] == 12
    assert [(output["event"], output["lambda"], output["name"]) for output in outputs] == [
        ("output", 0.0, "instruct-pad-0.0"),
        ("output", 0.5, "instruct-pad-0.5"),
    ]
    for output in outputs:
        assert output["path"] == str(tmp_path / "new/out" / output["name"])
        assert {about.pop("name"): about for about in output["files"]} == facts_of(Path(output["path"]))
    assert done["event"] == "done"
    assert done.keys() >= {"seconds", "pass_seconds", "cpu_seconds", "baseline_bytes", "peak_bytes"}
    assert sorted(os.listdir(tmp_path / "new/out")) == ["instruct-pad-0.0", "instruct-pad-0.5"]


def test_models_and_folders_may_be_called_anything_and_paths_be_relative(tmp_path):
    pair = random_pair(tmp_path / "my models (新)")
    pair.instruct.rename(pair.instruct.with_name("my model (v2)"))
    (tmp_path / "here").mkdir()
    sides = (f"../my models (新)/{name}" for name in ("base", "my model (v2)"))
    status, (_, output, *_), errors = merge(job(*sides, "an out 100%"), cwd=tmp_path / "here")
    assert (status, errors) == (0, "")
    assert output["path"] == str(tmp_path / "here/an out 100%/my-model-v2-pad-0.0")
    assert Path(output["path"], "lineage.json").is_file()
    assert "# my model (v2) at λ = 0.0\n" in Path(output["path"], "README.md").read_text()


def test_outputs_are_signed_where_asked_and_say_that_one_process_did_both(tmp_path):
    pair = random_pair(tmp_path)
    key = make_key_pair(tmp_path / "k.pem", tmp_path / "k.pub")
    status, (_, output, *_), _ = merge(job(pair.base, pair.instruct, tmp_path / "out", str(tmp_path / "k.pem")))
    assert status == 0
    folder = Path(output["path"])
    manifest = model_bundle.read((folder / "model.sig").read_bytes(), [key])
    assert manifest.key_id == key.key_id
    assert {*manifest.files} == {file.name for file in folder.iterdir()} - {"model.sig", "README.md"}
    signed = dsse.verify((folder / "provenance.intoto.jsonl").read_bytes(), PAYLOAD_TYPE, [key])
    builder = json.loads(signed.payload)["predicate"]["runDetails"]["builder"]["id"]
    assert builder == "urn:crossfade:builders:local"


def test_a_key_that_cannot_sign_is_refused_before_any_work(tmp_path):
    pair = random_pair(tmp_path)
    (tmp_path / "k.pem").write_text("no key")
    status, events, _ = merge(job(pair.base, pair.instruct, tmp_path / "out", str(tmp_path / "k.pem")))
    assert (status, [event["event"] for event in events]) == (1, ["error"])
    assert events[0]["error"]["code"] == "key_malformed"
    assert not (tmp_path / "out").exists()


def bad_jobs() -> dict[str, tuple[dict[str, Any], str, str]]:
    """What is changed about a good job, the code it fails with, and what the message must name."""
    return {
        "missing model": ({"base": "absent"}, "source_not_found", "absent"),
        "no paths at all": ({"base": "/"}, "invalid_spec", "base"),
        "out of range": ({"spec": {"lambdas": [1.5]}}, "invalid_spec", "allow_extrapolation"),
        "corrupt shard": ({"base": "corrupt"}, "header_too_large", "model.safetensors"),
        "out is a file": ({"out": "corrupt/model.safetensors"}, "sink_unavailable", "choose another --out"),
    }


@pytest.mark.parametrize("name", bad_jobs())
def test_bad_job_is_told_in_one_event_and_leaves_no_folder(tmp_path, name):
    random_pair(tmp_path)
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt/model.safetensors").write_bytes(b"\xff" * 64)
    before = sorted(tmp_path.rglob("*"))
    changes, code, named = bad_jobs()[name]
    good = json.loads(job("base", "instruct", "deep/out"))
    status, events, errors = merge(json.dumps({**good, **changes}), cwd=tmp_path)
    assert (status, errors) == (1, "")
    (event,) = events
    assert event["event"] == "error"
    assert event["error"]["code"] == code
    assert named in event["error"]["message"]
    assert sorted(tmp_path.rglob("*")) == before


def test_error_during_the_pass_leaves_the_users_own_folder_as_it_was(tmp_path):
    for side, steps in (("base", b"\7"), ("instruct", b"\10")):
        write_checkpoint(tmp_path / side, {"steps": ("U8", (1,), steps), "weight": ("F32", (1,), b"\0" * 4)})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_bytes(b"mine")
    status, (plan, error), _ = merge(job(tmp_path / "base", tmp_path / "instruct", tmp_path / "out"))
    assert (status, plan["event"], error["error"]["code"]) == (1, "plan", "tensors_differ")
    assert os.listdir(tmp_path / "out") == ["mine"]


def test_output_that_is_there_is_refused_before_any_work(tmp_path):
    pair = random_pair(tmp_path)
    (tmp_path / "out/instruct-pad-0.5").mkdir(parents=True)
    status, (error,), _ = merge(job(*pair, tmp_path / "out"))
    assert (status, error["error"]["code"]) == (1, "output_exists")
    assert os.listdir(tmp_path / "out") == ["instruct-pad-0.5"]


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_signal_in_the_middle_leaves_nothing(tmp_path, big_job, which):
    with at_work(big_job) as process:
        process.send_signal(which)
        errors = process.stderr.read()
        assert process.wait() == 130
    assert errors == ""
    assert not (tmp_path / "deep").exists()


def test_reader_that_goes_away_in_the_middle_leaves_nothing(tmp_path, big_job):
    with at_work(big_job) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == 130
    assert errors == ""
    assert not (tmp_path / "deep").exists()
