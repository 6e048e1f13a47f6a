"""`crossfade lineage`: what is asked of the service, and how the answer is drawn; a real service is tests/system's."""

import hashlib
import io
import json
import os

import pytest
from rich.console import Console

from crossfade_cli.lineage_tree import print_lineage
from crossfade_client import LineageGraphView
from crossfade_core.lineage_graph import checkpoint_digest
from tests.cli.conftest import Crossfade
from tests.client.fake_service import GRAPH, FakeService

AT = "2026-11-22T10:00:00Z"


def sighting(checkpoint, uri, **output):
    kind = "output" if output else "source"
    return {"checkpoint": checkpoint, "kind": kind, "uri": uri, "at": AT, "copy_of": None, **output}


def made(name, lam, job="job-1"):
    return {"job": job, "name": name, "lambda": lam}


def node(level, *sightings):
    return {
        "checkpoint": sightings[0]["checkpoint"],
        "level": level,
        "sighting_count": len(sightings),
        "sightings": sightings,
    }


def edge(source, output, role="base", lam=0.5, job="job-1"):
    told = {"role": role, "lambda": lam, "job": job, "source": source, "output": output}
    return {**told, "source_uri": f"s3://m/{source}", "output_uri": f"s3://out/{output}"}


def drawn(capsys, *, matches, ancestors=(), descendants=(), edges=(), truncated=False):
    """Return the lines that are drawn, and what is told beside them."""
    graph = {"ancestors": ancestors, "descendants": descendants, "edges": edges, "truncated": truncated}
    found = [{"files": [], "sources": {}, **match} for match in matches]
    stream = io.StringIO()
    print_lineage(LineageGraphView.model_validate({**graph, "matches": found}), Console(file=stream, width=200))
    return stream.getvalue().splitlines(), capsys.readouterr().err


def test_ancestors_stand_above_and_descendants_below(capsys):
    middle = sighting("m", "s3://out/m", **made("middle", 0.25, "job-2"))
    lines, told = drawn(
        capsys,
        matches=[{**sighting("x", "s3://out/x", **made("x-0.5", 0.5)), "files": ["model-2.safetensors"]}],
        ancestors=[node(1, middle), node(1, sighting("i", "s3://m/i")), node(2, sighting("b", "s3://m/b"))],
        descendants=[node(1, sighting("y", "s3://out/y", **made("y-0.1", 0.1)))],
        edges=[edge("m", "x"), edge("i", "x", "instruct"), edge("b", "m"), edge("x", "y", "instruct", 0.1, "job-3")],
    )
    assert lines == [
        "made of",
        "├── base: s3://m/m, λ = 0.25 of job job-2, published as s3://out/m",
        "│   └── base: s3://m/b",
        "└── instruct: s3://m/i",
        "model-2.safetensors of s3://out/x, λ = 0.5 of job job-1",
        "x",
        "made of it",
        "└── y-0.1: λ = 0.1, as instruct, job job-3, s3://out/y",
    ]
    assert told == ""


def test_a_checkpoint_that_is_met_again_is_drawn_once(capsys):
    y, z = (node(level, sighting(name, f"s3://out/{name}", **made(name, 0.5))) for level, name in ((1, "y"), (2, "z")))
    lines, _ = drawn(
        capsys,
        matches=[sighting("x", "s3://m/x")],
        descendants=[y, z],
        edges=[edge("x", "y"), edge("x", "y", "instruct"), edge("y", "z"), edge("z", "y"), edge("x", "y", job="job-2")],
    )
    assert lines == [
        "made of nothing that is known here",
        "s3://m/x, a source",
        "x",
        "made of it",
        "└── y: λ = 0.5, as base and instruct, job job-1 and 1 more, s3://out/y",
        "    └── z: λ = 0.5, as base, job job-1, s3://out/z",
        "        └── y: λ = 0.5, as base, job job-1, s3://out/y (drawn above)",
    ]


def test_a_file_of_several_checkpoints_lists_where_it_is(capsys):
    lines, told = drawn(
        capsys,
        matches=[
            {**sighting("sha256:" + "1" * 64, "s3://m/a"), "files": ["tokenizer.json"]},
            sighting("sha256:" + "2" * 64, "s3://out/b", **made("b", 0.0), copy_of="base"),
        ],
    )
    assert lines == [
        "sha256:111111111111…  tokenizer.json of s3://m/a, a source",
        "sha256:222222222222…  s3://out/b, λ = 0.0 of job job-1, the same as its base",
    ]
    assert told.startswith("2 checkpoints: the URI or the digest of one")


def test_what_is_left_out_is_said(capsys):
    lines, told = drawn(capsys, matches=[sighting("x", "s3://m/x")], truncated=True)
    assert lines[-1] == "nothing that is known here was made of it"
    assert told.startswith("there is more than is shown")


def test_a_strangers_words_move_no_cursor(capsys):
    lines, _ = drawn(capsys, matches=[sighting("x", "s3://m/\x1b[2J[bold]x")])
    assert "s3://m/\\x1b[2J[bold]x, a source" in lines


def asked(service):
    return [each.query for each in service.asked_for("/v1/lineage")]


@pytest.mark.parametrize(
    ("subject", "query"),
    [
        ("hf://acme/base", {"uri": ["hf://acme/base"]}),
        ("file:///srv/out/x", {"uri": ["file:///srv/out/x"]}),
        ("AB" * 32, {"digest": ["AB" * 32]}),
        ("sha256:" + "ab" * 32, {"digest": ["sha256:" + "ab" * 32]}),
    ],
)
def test_a_uri_and_a_digest_are_asked_as_they_are(crossfade: Crossfade, subject, query):
    with FakeService() as service:
        ended = crossfade("lineage", subject, "--depth", "2", "--json", "--url", service.url)
        assert (ended.returncode, ended.stderr, json.loads(ended.stdout)) == (0, "", GRAPH)
        assert asked(service) == [{**query, "depth": ["2"]}]


def test_a_file_is_hashed_here_with_progress_whatever_its_name_looks_like(crossfade: Crossfade, tmp_path):
    content = os.urandom(3_000_000)
    file = tmp_path / ("ab" * 32)
    file.write_bytes(content)
    with FakeService() as service:
        ended = crossfade("lineage", "--file", str(file), "--url", service.url)
        assert ended.returncode == 0
        assert asked(service) == [{"digest": [hashlib.sha256(content).hexdigest()]}]
    assert ended.stderr.splitlines()[-1].startswith("hashing 100%")


def test_a_folder_is_asked_for_by_its_weights(crossfade: Crossfade, tmp_path):
    content = {"adapter_model.safetensors": b"weights", "adapter_config.json": b"{}", "README.md": b"card"}
    for name, words in content.items():
        (tmp_path / name).write_bytes(words)
    os.mkfifo(tmp_path / "pipe.safetensors")
    digests = {name: hashlib.sha256(words).hexdigest() for name, words in content.items()}
    with FakeService() as service:
        assert crossfade("lineage", str(tmp_path), "--json", "--url", service.url).returncode == 0
        assert asked(service) == [{"digest": [checkpoint_digest(digests)]}]


def test_what_cannot_be_hashed_says_why_and_asks_nobody(crossfade: Crossfade, tmp_path):
    (tmp_path / "README.md").write_text("card")
    os.mkfifo(tmp_path / "pipe")
    with FakeService() as service:
        for path, reason in (("no", "no such file"), (".", "no *.safetensors file lies in"), ("pipe", "no such file")):
            ended = crossfade("lineage", str(tmp_path / path), "--url", service.url)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert reason in ended.stderr
        assert service.asked == []


@pytest.mark.parametrize("args", [(), ("hf://a/b", "--file", "x")])
def test_one_thing_is_asked_for(crossfade: Crossfade, args):
    ended = crossfade("lineage", *args)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "give a URI, a SHA-256 or a path" in ended.stderr
