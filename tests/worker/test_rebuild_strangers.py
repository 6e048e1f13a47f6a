"""A lineage.json may be written by anybody: every fault is one named error, and nothing is fetched that it makes up."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossfade_core.errors import Reported
from tests.architectures.merging import merge
from tests.fakes.checkpoints import random_pair
from tests.worker.rebuilds import edit_lineage, rebuild

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return merge(*random_pair(tmp_path), tmp_path / "out", lambdas=[0.5]).folders[0.5]


def set_uri(uri: object) -> Edit:
    return lambda lineage: lineage["inputs"]["base"].update(uri=uri)


FAULTS: dict[str, tuple[Edit, str]] = {
    "no schema": (lambda lineage: lineage.pop("schema"), "schema .* expected, found None"),
    "another schema": (lambda lineage: lineage.update(schema="acme/2"), "found 'acme/2': crossfade did not write it"),
    "later schema": (
        lambda lineage: lineage.update(schema="crossfade.lineage/99"),
        "another release of crossfade wrote it",
    ),
    "no lambda": (lambda lineage: lineage.pop("lambda"), "'lambda': Field required"),
    "lambda is text": (lambda lineage: lineage.update({"lambda": "0.5"}), "'lambda': .*number"),
    "lambda is true": (lambda lineage: lineage.update({"lambda": True}), "'lambda': .*number"),
    "edited lambda": (lambda lineage: lineage.update({"lambda": 0.7}), "0.7, is none of its spec's"),
    "no spec": (lambda lineage: lineage.pop("spec"), "'spec': Field required"),
    "no strengths": (lambda lineage: lineage["spec"].pop("lambdas"), "is none of its spec's"),
    "unknown field": (lambda lineage: lineage["spec"].update(method="ties"), "spec.'method'.*upgrade"),
    "wrong field": (lambda lineage: lineage["spec"].update(rounding="up"), "spec.'rounding'"),
    "too strong": (
        lambda lineage: (
            lineage["spec"].update(schedule=[{"pattern": "*", "factor": 3e38}], lambdas=[3e38])
            or lineage.update({"lambda": 3e38})
        ),
        "too large for float32",
    ),
    "no inputs": (lambda lineage: lineage.pop("inputs"), "'inputs': Field required"),
    "inputs are a list": (lambda lineage: lineage.update(inputs=[]), "'inputs': .*dictionary"),
    "one input": (lambda lineage: lineage["inputs"].pop("base"), "its inputs are"),
    "a third input": (
        lambda lineage: lineage["inputs"].update(third=lineage["inputs"]["base"]),
        "its inputs are .*'third'",
    ),
    "input is text": (lambda lineage: lineage["inputs"].update(base="x"), "'inputs.base': .*dictionary"),
    "chain without its end": (
        lambda lineage: lineage["spec"].update(instruct={"delta_of": ["local://a/b", "local://a/c"]}),
        "its inputs are",
    ),
    "chain of nonsense": (
        lambda lineage: (
            lineage["spec"].update(instruct={"delta_of": 5, "bogus": 1})
            or lineage["inputs"].update(reference=lineage["inputs"]["base"])
        ),
        "spec.'instruct",
    ),
    "no uri": (set_uri(None), "'inputs.base.uri': .*string"),
    "https": (set_uri("https://example.org/model"), "the uri of input 'base' is 'https"),
    "file": (set_uri("file:///etc"), "the uri of input 'base' is 'file"),
    "climbing": (set_uri("local://filesystem/etc/../root"), "the uri of input 'base'"),
    "option": (set_uri("hf://acme/--upload"), "the uri of input 'base'"),
    "unknown root": (set_uri("local://models/base"), "--root models=DIR"),
    "not there": (set_uri("local://filesystem/there/is/none"), "check the path"),
    "no checkpoint": (set_uri("local://filesystem/proc"), "no such file found|checkpoint"),
    "no files": (lambda lineage: lineage["inputs"]["base"].pop("files"), "'inputs.base.files': Field required"),
    "climbing file": (
        lambda lineage: lineage["inputs"]["base"]["files"].update({"../x": {"size_bytes": 1, "sha256": "0" * 64}}),
        "base/../x, of the base, .*no such file found",
    ),
    "no digest": (
        lambda lineage: lineage["inputs"]["base"]["files"].update(x={"size_bytes": 1}),
        "'inputs.base.files.x.sha256': Field required",
    ),
    "software is no list of texts": (lambda lineage: lineage.update(software=[5]), "'software.0': .*dictionary"),
    "climbing output": (
        lambda lineage: lineage["outputs"].update({"../x": {"size_bytes": 1, "sha256": "0" * 64}}),
        "no plain file name",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_one_error_that_names_it(output, fault):
    edit, named = FAULTS[fault]
    edit_lineage(output, edit)
    try:
        found = rebuild(output)["message"]
    except Reported as error:
        found = error.message
    assert re.search(named, found), found


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a": NaN}'])
def test_what_is_no_lineage_is_refused(output, content):
    (output / "lineage.json").write_bytes(content)
    with pytest.raises(Reported) as caught:
        rebuild(output)
    assert caught.value.code in {"checkpoint_malformed", "duplicate_key"}


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"sources": {"third": "/x"}}, "no such role; it has base, instruct"),
        ({"sources": {"base": "https://example.org/x"}}, "source_not_found|is no source|check the path"),
        ({"sources": {"base": "hf://--x"}}, "--source"),
        ({"roots": {"filesystem": "/x"}}, "--root filesystem"),
        ({"device": "cuda"}, "torch sees no GPU"),
    ],
)
def test_wrong_request_is_one_error_that_names_it(output, monkeypatch, request_, named):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(Reported, match=named):
        rebuild(output, **request_)


def test_link_out_of_a_given_root_is_not_followed(output, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/base").symlink_to(tmp_path / "base")
    edit_lineage(output, set_uri("local://models/base"))
    with pytest.raises(Reported) as caught:
        rebuild(output, roots={"models": str(tmp_path / "root")})
    assert caught.value.code == "path_outside_root"


def test_lineage_that_asks_for_a_pipe_does_not_hang(output, tmp_path):

    os.mkfifo(tmp_path / "base/pipe.safetensors")
    edit_lineage(
        output,
        lambda lineage: lineage["inputs"]["base"]["files"].update(
            {"pipe.safetensors": {"size_bytes": 0, "sha256": "0" * 64}}
        ),
    )
    assert json.dumps(rebuild(output)["cause"]) == '"input"'
