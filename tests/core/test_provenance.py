"""The provenance statement names every file that came out and every file that went in, and all that was asked."""

import json

import pytest

from crossfade_core.own_files import CARD_FILE, LINEAGE_FILE, SIGNATURE_FILE
from crossfade_core.provenance import ASKED_NOTHING_OF_THE_OUTPUT, Builder, external_parameters, provenance_statement
from crossfade_core.spec import MergeSpec
from tests.core.output_facts import CHAIN, lineage, spec

COMMIT = "c" * 40
FILE = {"size_bytes": 5, "sha256": "ab" * 32}
HERE = Builder("https://merge.example.org/")


def statement(asked, builder=HERE, **changes):
    return json.loads(provenance_statement(lineage(asked, **changes), builder))


def test_subjects_are_all_files_but_those_that_change_after_publishing():
    outputs = dict.fromkeys(("model.safetensors", LINEAGE_FILE, CARD_FILE, SIGNATURE_FILE, ".gitattributes"), FILE)
    told = statement(spec(), outputs=outputs)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    assert told["subject"] == [
        {"name": LINEAGE_FILE, "digest": {"sha256": FILE["sha256"]}},
        {"name": "model.safetensors", "digest": {"sha256": FILE["sha256"]}},
    ]


def test_every_input_file_is_a_dependency_with_place_and_digest():
    hub = {"base": f"hf://org/base@{COMMIT}", "instruct": "s3://models/a b/tuned"}
    inputs = {role: {"model.safetensors": FILE} for role in hub}
    definition = statement(spec(), sources=hub, inputs=inputs)["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [
        {
            "name": "base/model.safetensors",
            "uri": f"pkg:huggingface/org/base@{COMMIT}#model.safetensors",
            "digest": {"sha256": FILE["sha256"]},
        },
        {
            "name": "instruct/model.safetensors",
            "uri": "s3://models/a b/tuned/model.safetensors",
            "digest": {"sha256": FILE["sha256"]},
        },
    ]


@pytest.mark.parametrize("instruct", ["local://m/tuned", CHAIN])
def test_parameters_are_strings_that_read_back_as_what_was_asked(instruct):
    asked = spec(instruct=instruct, lambdas=[0.1, 1e-7], policies={"tokens": "ignore"}, schedule=[], seed=7)
    told = external_parameters(lineage(asked, lam=1e-7))
    assert all(isinstance(value, str) for value in told.values())
    assert float(told.pop("lambda")) == 1e-7
    side = told["instruct"]
    if "reference" in told:
        side = {"delta_of": [side, told.pop("reference")], "skip": json.loads(told.pop("skip"))}
    words = {"base", "output_name", "destination", "out_dtype", "rounding", "statistics"}
    fields = {name: value if name in words else json.loads(value) for name, value in told.items() if name != "instruct"}
    assert MergeSpec.model_validate({**fields, "instruct": side}) == asked


def test_parameters_leave_out_only_what_changes_nothing():
    assert external_parameters(lineage(spec())).keys() == (
        MergeSpec.model_fields.keys() - ASKED_NOTHING_OF_THE_OUTPUT | {"lambda"}
    )


def test_the_builder_is_the_deployment_by_its_public_url_or_a_urn_without_one():
    run = statement(spec(), software=[{"crossfade": "1", "torch": "2"}, {"crossfade": "1", "torch": "3"}])["predicate"]
    assert run["runDetails"]["builder"] == {
        "id": "https://merge.example.org/builders/control",
        "version": {"crossfade": "1", "torch": "2, 3"},
    }
    assert run["buildDefinition"]["buildType"] == "https://merge.example.org/build-types/merge/1"
    assert run["runDetails"]["metadata"] == {"invocationId": "job-1", "startedOn": "2026-11-20T17:00:00+00:00"}
    assert Builder().id == "urn:crossfade:builders:control"
    assert Builder().build_type == "urn:crossfade:build-types:merge:1"


def test_the_same_facts_are_the_same_bytes():
    twice = {provenance_statement(lineage(spec(), outputs={"b": FILE, "a": FILE}), HERE) for _ in range(2)}
    assert twice == {provenance_statement(lineage(spec(), outputs={"a": FILE, "b": FILE}), HERE)}
