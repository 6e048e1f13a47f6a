"""`crossfade rebuild` as its user sees it: what it says, where, and how it ends."""

import json
from pathlib import Path

import pytest

from crossfade_cli import rebuild
from crossfade_core.errors import ProgramMissing
from tests.cli.conftest import Crossfade
from tests.fakes.checkpoints import random_pair
from tests.worker.rebuilds import edit_lineage, flip


@pytest.fixture
def output(crossfade: Crossfade, tmp_path: Path) -> Path:
    pair = random_pair(tmp_path)
    ended = crossfade("merge", str(pair.base), str(pair.instruct), "--lambda", "0.5", "--out", str(tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr
    return tmp_path / "out/instruct-pad-0.5"


def test_reproduced_output_is_told_in_one_line_with_progress_beside_it(crossfade: Crossfade, output):
    ended = crossfade("rebuild", str(output), "--check", "--threads", "1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("reproduced, bit for bit: λ = 0.5, 12 tensors in 8 files, 13.2 kB, from 11 input")
    assert ended.stdout.endswith(f"; who signed it was not checked: crossfade verify {output} --key PUBLIC_KEY\n")
    assert ended.stdout.count("\n") == 1
    told = [line for line in ended.stderr.splitlines() if line.startswith(("base: ", "instruct: "))]
    assert told == [f"{role}: local://filesystem{output.parents[1]}/{role}" for role in ("base", "instruct")]
    assert any(line.startswith("rebuilding 100%") for line in ended.stderr.splitlines())


def test_damaged_output_is_named_on_stderr_and_the_status_is_1(crossfade: Crossfade, output):
    flip(output / "model-00002-of-00003.safetensors")
    ended = crossfade("rebuild", output.as_uri(), "--check")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "reading the inputs to see whether they are still those that were merged" in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("crossfade: not reproduced: model-00002-of-00003.safetensors is damaged: ")
    assert "tensor 'model.norm.weight', BF16 [16], element 15: " in last


def test_machines_get_one_document_and_the_status(crossfade: Crossfade, output):
    ended = crossfade("rebuild", str(output), "--check", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["reproduced"] is True
    flip(output / "model-00001-of-00003.safetensors")
    ended = crossfade("rebuild", str(output), "--check", "--json")
    assert (ended.returncode, ended.stderr) == (1, "")
    found = json.loads(ended.stdout)
    assert (found["reproduced"], found["cause"], found["uri"]) == (False, "published", str(output))


def test_what_a_stranger_wrote_does_not_reach_the_terminal_as_it_stands(crossfade: Crossfade, output):
    edit_lineage(output, lambda lineage: lineage["software"][0].update(torch="\x1b]0;mine\x07"))
    (output / "notes\n.txt").write_text("mine")
    ended = crossfade("rebuild", str(output), "--check")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "notes\\n.txt is there too, and lineage.json does not tell of it" in ended.stderr.splitlines()
    assert "beside it is published what it does not tell of: notes\\n.txt; " in ended.stderr.splitlines()[-1]
    assert "torch \\x1b]0;mine\\x07" in ended.stderr
    assert "; rebuilt with crossfade" in ended.stderr


def test_error_is_one_line_with_the_way_out(crossfade: Crossfade, output):
    edit_lineage(output, lambda lineage: lineage["inputs"]["base"].update(uri="local://models/base"))
    ended = crossfade("rebuild", str(output), "--check")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "--root models=DIR" in ended.stderr
    assert "Traceback" not in ended.stderr
    for option, value in (("--root", f"models={output.parents[1]}"), ("--source", f"base={output.parents[1]}/base")):
        ended = crossfade("rebuild", str(output), "--check", option, value)
        assert (ended.returncode, ended.stdout[:10]) == (0, "reproduced")
        opened = f"base: local://models/base, opened at {output.parents[1]}/base ({option})"
        assert opened in ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ((), "--check"),
        (("--check", "--root", "models"), "--root"),
        (("--check", "--source", "=x"), "--source"),
        (("--check", "--device", "tpu"), "--device"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(crossfade: Crossfade, args, named):
    ended = crossfade("rebuild", "/nowhere", *args)
    assert ended.returncode == 2
    assert named in ended.stderr


def test_without_the_worker_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(rebuild, "find_spec", lambda name: None)
    with pytest.raises(ProgramMissing, match=r"pip install 'crossfade\[worker\]'"):
        rebuild.rebuild({}, as_json=False)
