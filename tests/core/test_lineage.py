"""The lineage record and the card: what they say of any kind of job, and that a stranger's words stay words."""

import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.lineage import CHAIN_FORMULA, FORMULA, Lineage, lineage_json
from crossfade_core.model_card import model_card
from crossfade_core.spec import MergeSpec, spec_digest

CHAIN = {"delta_of": ["local://m/chat", "local://m/old-base"], "skip": ["*embed_tokens*"]}
STATISTICS = {"method": "exact", "realised": 0.0268, "relative_delta_norm": 0.0013, "warnings": [], "tensors": []}


def spec(**changes):
    fields = {"base": "local://m/base", "instruct": "local://m/tuned", "lambdas": [0.1], "destination": "out"}
    return MergeSpec.model_validate({**fields, **changes})


def lineage(asked, **changes):
    facts = {
        "spec": asked,
        "spec_digest": spec_digest(asked),
        "job_id": "job-1",
        "created_at": "2026-11-20T17:00:00+00:00",
        "lam": 0.1,
        "output_name": "tuned-pad-0.1",
        "sources": asked.sources,
        "inputs": {role: {f"{role}.safetensors": {"size_bytes": 5, "sha256": "ab"}} for role in asked.sources},
        "plan": {"tensors": 3},
        "exceptions": [],
        "config_changes": {},
        "statistics": STATISTICS,
        "outputs": {},
        "software": [],
    }
    return Lineage(**{**facts, **changes})


def record(asked, **changes):
    return json.loads(lineage_json(lineage(asked, **changes)))


def card(asked, **changes):
    return model_card(asked, 0.1, "job-1", sources=asked.sources, statistics={**STATISTICS, **changes}).decode()


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
            "files": {f"{role}.safetensors": {"size_bytes": 5, "sha256": "ab"}},
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
        "tensors": 3,
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


def test_card_of_a_chain_names_all_three_models_and_their_roles():
    text = card(spec(instruct=CHAIN))
    assert yaml.safe_load(text.split("---\n")[1])["base_model"] == ["base", "chat", "old-base"]
    assert "# base + (chat − old-base) at λ = 0.1\n" in text
    assert CHAIN_FORMULA in text
    assert "| A | `local://m/chat` |\n| B | `local://m/old-base` |" in text
    assert "| config and tokenizer from | base |" in text
    assert '"skip": ["*embed_tokens*"]' in text


def test_card_tells_the_realised_strength():
    assert "| λ | 0.1 |\n| realised λ̂ | 0.0268 |" in card(spec())


def test_card_tells_the_mean_strength_of_a_schedule_and_of_nothing_else():
    row = "| mean strength by the schedule | 0.05 |"
    assert row in card(spec(schedule=[{"pattern": "*", "factor": 0.5}]), requested=0.05)
    assert row not in card(spec(), requested=0.05)


def test_card_without_a_realised_strength_claims_none():
    text = card(spec(), realised=None, relative_delta_norm=None)
    assert "realised" not in text
    assert "None" not in text


def test_card_warns_where_there_is_something_to_warn_of():
    assert "Warning" not in card(spec())
    assert "\n**Warning:** λ = 0.1 was realised as 0.027.\n" in card(spec(), warnings=["λ = 0.1 was realised as 0.027"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rounding": "stochastic", "seed": 7}, '{"rounding": "stochastic", "seed": 7}'),
        ({"policies": {"one_sided": "copy", "tokens": "refuse"}}, '{"policies": {"one_sided": "copy"}}'),
        ({"schedule": [{"pattern": "*", "factor": 0.5}]}, '{"schedule": [{"pattern": "*", "factor": 0.5}]}'),
    ],
)
def test_card_tells_what_is_not_at_its_default(changes, told):
    text = card(spec(**changes))
    assert f"Not at the defaults:\n\n    {told}\n" in text
    assert "Not at the defaults" not in card(spec())


@given(st.text(min_size=1, max_size=40))
def test_words_of_strangers_in_the_card_open_no_markup(words):
    text = card(spec(schedule=[{"pattern": words, "factor": 1}]), warnings=[f"most of them in {words}"])
    assert text.count("\n    {") == 1
    (warning,) = [line for line in text.split("\n") if line.startswith("**Warning:**")]
    assert all(at and warning[at - 1] == "\\" for at, sign in enumerate(warning) if sign in "<[`|")


def test_front_matter_lists_a_name_once():
    assert card(spec(instruct="local://tuned/base")).count('- "base"') == 1


PINNED = {"base": f"hf://acme/base@{'a' * 40}", "instruct": f"hf://acme/tuned@{'b' * 40}"}
FROM_THE_HUB = {"base": "hf://acme/base", "instruct": "hf://acme/tuned@v2"}


def test_record_names_hub_sources_by_commit_and_the_spec_as_it_was_asked():
    asked = spec(**FROM_THE_HUB)
    told = json.loads(lineage_json(lineage(asked, sources=PINNED)))
    assert {role: found["uri"] for role, found in told["inputs"].items()} == PINNED
    assert told["spec"]["base"] == "hf://acme/base@main"


def test_card_links_hub_models_by_id_and_names_their_commits():
    text = model_card(spec(**FROM_THE_HUB), 0.5, "job-1", sources=PINNED, statistics=STATISTICS).decode()
    assert '- "acme/base"\n- "acme/tuned"\n' in text
    assert all(f"`{uri}`" in text for uri in PINNED.values())
