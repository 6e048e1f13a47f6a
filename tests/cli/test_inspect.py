"""`crossfade inspect`: figures as they stand in lineage.json, which anybody may have written."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossfade_cli.inspect_output import inspect
from crossfade_cli.lineage_view import find_outputs, read_lineage
from crossfade_core.errors import CheckpointError, CrossfadeError, NoCheckpoint, SourceNotFound
from tests.cli.conftest import Crossfade
from tests.cli.lineage_files import change, figures, write_output

WARNING = "λ = 0.1 was realised as 0.027: bfloat16 rounds small steps away"
EXCEPTION = {"tensor": "rotary.inv_freq", "action": "copy_base", "reason": "only in the base, kept by one_sided: copy"}


def shown(capsys: pytest.CaptureFixture[str], *folders: Path, tensors: int = 0) -> list[str]:
    inspect(folders, tensor_count=tensors, as_json=False)
    return capsys.readouterr().out.splitlines()


def as_json(capsys: pytest.CaptureFixture[str], *folders: Path, tensors: int = 0) -> list[dict]:
    inspect(folders, tensor_count=tensors, as_json=True)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return json.loads(out)["outputs"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_an_output_is_shown_with_its_figures_and_where_it_comes_from(tmp_path, capsys):
    lines = shown(capsys, write_output(tmp_path / "m-0.1", overflowed=4, base_non_finite=[2, 1], warnings=[WARNING]))
    assert lines[:5] == [
        "job:       job-1",
        "base:      local://m/base",
        "instruct:  local://m/tuned",
        "formula:   M(λ) = base + λ·(instruct − base)",
        "counted:   every element",
    ]
    assert cells(lines[5]) == [
        "output", "λ", "realised λ̂", "moved from base", "unchanged", "rounding error", "non-finite", "warnings",
    ]  # fmt: skip
    assert cells(lines[6]) == ["m-0.1", "0.1", "0.027", "0.00134", "92.3 %", "1.87", "base 3, overflow 4", "1"]
    assert lines[7:] == [f"warning: m-0.1: {WARNING}"]


def test_a_figure_that_there_is_none_of_is_a_dash(tmp_path, capsys):
    none = dict.fromkeys(("realised", "relative_delta_norm", "unchanged_share", "rounding_error"))
    assert cells(shown(capsys, write_output(tmp_path / "m", **none))[6]) == ["m", "0.1", "–", "–", "–", "–"]


def test_a_chain_is_shown_by_the_letters_of_its_formula(tmp_path, capsys):
    folder = write_output(tmp_path / "m", instruct={"delta_of": ["local://m/chat", "local://m/old"]})
    lines = shown(capsys, folder)
    assert lines[2:5] == ["A:         local://m/chat", "B:         local://m/old", "formula:   M(λ) = base + λ·(A − B)"]


def test_under_a_schedule_the_mean_strength_stands_beside_lambda(tmp_path, capsys):
    lines = shown(capsys, write_output(tmp_path / "m", requested=0.05, realised=0.0499))
    assert cells(lines[5])[:4] == ["output", "λ", "mean", "realised λ̂"]
    assert cells(lines[6])[:4] == ["m", "0.1", "0.05", "0.0499"]


def test_a_folder_of_outputs_is_a_table_by_strength_also_of_outputs_further_down(tmp_path, capsys):
    for name, lam in (("a", 1.0), ("deep/er/b", 0.5), ("c", 0.0)):
        write_output(tmp_path / name, lam)
    write_output(tmp_path / ".crossfade-staging" / "job" / "d")
    assert [cells(line)[:2] for line in shown(capsys, tmp_path)[6:]] == [["c", "0.0"], ["b", "0.5"], ["a", "1.0"]]


def test_every_sweep_has_a_table_of_its_own(tmp_path, capsys):
    folders = [write_output(tmp_path / job / "m", job=job) for job in ("job-2", "job-1")]
    heads = [line for line in shown(capsys, *folders) if line.startswith("job:")]
    assert heads == ["job:       job-1", "job:       job-2"]


def test_an_output_given_twice_is_shown_once(tmp_path, capsys):
    folder = write_output(tmp_path / "m")
    assert len(as_json(capsys, folder, tmp_path, folder)) == 1


def test_the_tensors_that_stray_most_come_first_and_those_without_a_strength_last(tmp_path, capsys):
    strays = {"none": None, "near": 0.099, "over": 0.3, "far": -0.5}
    tensors = [{"tensor": name, **figures(0.1, realised)} for name, realised in strays.items()]
    folder = write_output(tmp_path / "m", tensors=tensors)
    lines = shown(capsys, folder, tensors=3)
    assert "m: the 3 tensors that stray most" in lines
    assert [cells(line)[0] for line in lines[-3:]] == ["far", "over", "near"]
    assert cells(lines[-2])[1:3] == ["0.1", "0.3"]
    assert [tensor["tensor"] for tensor in as_json(capsys, folder, tensors=9)[0]["tensors"]][-1] == "none"


def test_one_outputs_exceptions_are_listed_with_their_reasons(tmp_path, capsys):
    lines = shown(capsys, write_output(tmp_path / "m", exceptions=(EXCEPTION,)))
    assert "1 tensor is not plainly interpolated" in lines
    assert cells(lines[-1]) == list(EXCEPTION.values())


def test_of_several_outputs_the_exceptions_are_counted_only(tmp_path, capsys):
    for name in "ab":
        write_output(tmp_path / name, exceptions=(EXCEPTION,))
    lines = shown(capsys, tmp_path)
    assert lines[-1] == "1 tensor is not plainly interpolated in an output; inspect one to see which"
    assert not any("inv_freq" in line for line in lines)


def test_json_holds_the_figures_unrounded_and_the_same_each_time(tmp_path, capsys):
    folder = write_output(tmp_path / "m", realised=0.0268123, warnings=[WARNING], exceptions=(EXCEPTION,))
    (output,) = as_json(capsys, folder)
    assert output["figures"]["realised"] == 0.0268123
    assert (output["path"], output["lambda"], output["job"]) == (str(folder), 0.1, "job-1")
    assert output["sources"] == {"base": "local://m/base", "instruct": "local://m/tuned"}
    assert (output["warnings"], output["exceptions"], output["tensors"]) == ([WARNING], [EXCEPTION], [])
    assert as_json(capsys, folder) == [output]


def test_what_a_terminal_would_act_on_is_shown_as_its_escape(tmp_path, capsys):
    folder = write_output(
        tmp_path / "m",
        warnings=["\x1b[2Jwarned", "[red]not markup"],
        tensors=[{"tensor": "a\r\n\x9bb", **figures(0.1, 0.1)}],
        exceptions=({"tensor": "t\x07", "action": "refuse", "reason": "r\x1b]0;x\x07"},),
    )
    inspect([folder], tensor_count=1, as_json=False)
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert "\\x1b[2Jwarned" in text
    assert "[red]not markup" in text
    assert "a\\r\\n\\x9bb" in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "no object"),
        (b"\xff{}", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"schema": NaN}', "NaN"),
        (b'{"schema": 1, "schema": 1}', "stands twice"),
        (b"{}", "found None: crossfade did not write it"),
        (b'{"schema": "other/1"}', "crossfade did not write it"),
        (b'{"schema": {"a": 1}}', "crossfade did not write it"),
        (b'{"schema": "crossfade.lineage/1"}', "found 'crossfade.lineage/1': another release of crossfade wrote it"),
        (b'{"schema": "crossfade.lineage/3"}', "'formula': Field required"),
    ],
)
def test_what_is_no_lineage_record_is_named(tmp_path, content, reason):
    folder = write_output(tmp_path / "m")
    (folder / "lineage.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_lineage(folder)
    assert caught.value.message.startswith(f"{folder}/lineage.json: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lambda", "0.1"),
        ("lambda", True),
        ("lambda", 10**400),
        ("job", []),
        ("inputs", {"base": "local://m/base"}),
        ("plan", {}),
        ("plan", {"exceptions": [{"tensor": 1}]}),
        ("statistics", None),
        ("statistics", {"method": "exact"}),
        ("formula", "\ud800"),
        ("inputs", {"\ud800": {"uri": "x"}}),
    ],
)
def test_a_record_with_a_field_of_another_kind_names_the_field(tmp_path, field, value):
    folder = write_output(tmp_path / "m")
    change(folder, **{field: value})
    with pytest.raises(CheckpointError, match=field):
        read_lineage(folder)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.sampled_from(["lambda", "job", "inputs", "plan", "statistics", "formula", "schema"]),
    st.one_of(
        VALUES, st.dictionaries(st.sampled_from(["id", "exceptions", "tensors", "warnings", "realised"]), VALUES)
    ),
)
def test_any_record_is_shown_or_refused_by_name(tmp_path, capsys, field, value):
    folder = tmp_path / "m"
    if not folder.exists():
        write_output(folder)
    kept = (folder / "lineage.json").read_bytes()
    change(folder, **{field: value})
    try:
        inspect([folder], tensor_count=2, as_json=False)
        inspect([folder], tensor_count=2, as_json=True)
    except CrossfadeError:
        pass
    finally:
        (folder / "lineage.json").write_bytes(kept)
        capsys.readouterr()


def test_a_folder_without_outputs_is_named(tmp_path):
    with pytest.raises(NoCheckpoint, match=r"no lineage\.json in it nor below"):
        find_outputs(tmp_path)
    with pytest.raises(SourceNotFound, match="no such folder"):
        find_outputs(tmp_path / "missing")


def test_a_pipe_in_place_of_the_record_keeps_nobody_waiting(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    os.mkfifo(folder / "lineage.json")
    with pytest.raises(CheckpointError):
        read_lineage(find_outputs(tmp_path)[0])


def test_inspect_is_a_command(tmp_path, crossfade: Crossfade):
    write_output(tmp_path / "m", warnings=[WARNING])
    ended = crossfade("inspect", str(tmp_path), "--tensors", "1")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"warning: m: {WARNING}" in ended.stdout
    assert json.loads(crossfade("inspect", str(tmp_path), "--json").stdout)["outputs"][0]["lambda"] == 0.1


def test_inspecting_what_is_no_output_is_one_line_and_exit_1(tmp_path, crossfade: Crossfade):
    ended = crossfade("inspect", str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
