"""The lineage record: what it says of any kind of job."""

import json
from dataclasses import replace

import pytest

from crossfade_core.lineage import CHAIN_FORMULA, FORMULA, lineage_json
from crossfade_core.spec import MergeSpec, spec_digest
from tests.core.output_facts import CHAIN, STATISTICS, digest, lineage, spec


def record(asked, **changes):
    return json.loads(lineage_json(lineage(asked, **changes)))


@pytest.mark.parametrize(
    ("instruct", "sources", "formula"),
    [
        ("local://m/tuned", {"base": "base", "instruct": "tuned"}, FORMULA),
        (CHAIN, {"base": "base", "instruct": "chat", "reference": "old-base"}, CHAIN_FORMULA),
    ],
)
def test_record_names_every_source_with_its_files_and_the_formula_that_holds(instruct, sources, formula):
    told = record(spec(instruct=instruct))
    assert told["formula"] == formula
    assert told["inputs"] == {
        role: {
            "uri": f"local://m/{name}",
            "files": {f"{role}.safetensors": digest("b")},
            "licence": None,
            "signature": None,
        }
        for role, name in sources.items()
    }


def test_record_of_a_chain_reads_back_as_the_spec_that_was_asked():
    asked = spec(instruct=CHAIN, schedule=[{"pattern": "*", "gradient": [0, 1]}], policies={"tokens": "ignore"})
    told = record(asked)
    assert MergeSpec.model_validate(told["spec"]) == asked
    assert told["spec_digest"] == spec_digest(asked)


def test_record_lists_what_was_not_plainly_interpolated_and_what_the_config_says_other_than_before():
    exception = {"tensor": "rotary.inv_freq", "action": "copy_base", "reason": "only in the base"}
    told = record(spec(), exceptions=[exception], config_changes={"/tie_word_embeddings": False, "/x": None})
    assert told["plan"] == {
        **lineage().plan,
        "exceptions": [exception],
        "config_changes": {"/tie_word_embeddings": False, "/x": None},
    }


def test_record_says_what_lambda_really_did():
    assert record(spec())["statistics"] == STATISTICS


def test_record_with_a_number_that_json_has_none_for_is_a_fault_of_ours():
    with pytest.raises(ValueError, match="JSON"):
        lineage_json(lineage(spec(), statistics={"realised": float("nan")}))


def test_equal_facts_give_equal_bytes_whatever_order_files_came_in():
    files = {name: {"size_bytes": 1, "sha256": name} for name in "abc"}
    one = lineage(spec(), outputs=files)
    assert lineage_json(one) == lineage_json(replace(one, outputs=dict(reversed(files.items()))))


PINNED = {"base": f"hf://acme/base@{'a' * 40}", "instruct": f"hf://acme/tuned@{'b' * 40}"}
FROM_THE_HUB = {"base": "hf://acme/base", "instruct": "hf://acme/tuned@v2"}


def test_record_names_hub_sources_by_commit_and_the_spec_as_it_was_asked():
    asked = spec(**FROM_THE_HUB)
    told = json.loads(lineage_json(lineage(asked, sources=PINNED)))
    assert {role: found["uri"] for role, found in told["inputs"].items()} == PINNED
    assert told["spec"]["base"] == "hf://acme/base@main"
