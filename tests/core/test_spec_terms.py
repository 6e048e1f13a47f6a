"""The terms of a merge beyond two parents and a number: chains, schedules, policies, rounding; each means one thing."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crossfade_core.policies import Policies
from crossfade_core.schedule_rule import ScheduleRule
from crossfade_core.spec import MAX_RULES, MAX_SKIPS, DeltaOf, MergeSpec, spec_digest

MINIMAL = {
    "base": "local://models/base",
    "instruct": "local://models/tuned",
    "lambdas": [0.5],
    "destination": "outputs",
}
A, B = "local://models/a", "local://models/b"
CHAIN = {"delta_of": [A, B]}


def spec(**fields):
    return MergeSpec.model_validate({**MINIMAL, **fields})


def place_of_refusal(match=".", **fields):
    with pytest.raises(ValidationError, match=match) as caught:
        spec(**fields)
    return caught.value.errors()[0]["loc"]


def test_sources_of_a_pair_and_of_a_chain_are_named_by_their_roles():
    assert spec().sources == {"base": "local://models/base", "instruct": "local://models/tuned"}
    assert spec(instruct=CHAIN).sources == {"base": "local://models/base", "instruct": A, "reference": B}


def test_chain_is_read_with_its_sources_made_canonical():
    chain = spec(instruct={"delta_of": [A + "/", B], "skip": ["*embed_tokens*", "lm_head.*"]}).instruct
    assert chain == DeltaOf(delta_of=(A, B), skip=("*embed_tokens*", "lm_head.*"))
    assert spec(instruct=chain).skip == ("*embed_tokens*", "lm_head.*")
    assert spec(instruct=CHAIN).skip == spec().skip == ()


@pytest.mark.parametrize("skip", [["x"], ["x"] * MAX_SKIPS, ["*"], ["?"], ["模*"], ["[x"], ["x" * 512]])
def test_skip_takes_one_to_64_patterns(skip):
    assert spec(instruct={**CHAIN, "skip": skip}).skip == tuple(skip)


@pytest.mark.parametrize(
    "chain",
    [
        {},
        {"delta_of": []},
        {"delta_of": [A]},
        {"delta_of": [A, B, B]},
        {"delta_of": A},
        {"delta_of": {"0": A, "1": B}},
        {"delta_of": [A, "models/b"]},
        {"delta_of": ["local://models/../a", B]},
        {"delta_of": [CHAIN, B]},
        {"delta_of": [A, None]},
        {**CHAIN, "skip": "x"},
        {**CHAIN, "skip": [""]},
        {**CHAIN, "skip": ["x" * 513]},
        {**CHAIN, "skip": [5]},
        {**CHAIN, "skip": ["\ud800"]},
        {**CHAIN, "skip": ["x"] * (MAX_SKIPS + 1)},
        {**CHAIN, "skip": None},
        {**CHAIN, "factor": 1},
        {"skip": ["x"]},
        [A, B],
        5,
        True,
    ],
)
def test_anything_else_is_no_instruct_side(chain):
    assert place_of_refusal(instruct=chain)[0] == "instruct"


def test_chain_cannot_be_the_base():
    assert place_of_refusal(base=CHAIN) == ("base",)


@pytest.mark.parametrize(
    ("instruct", "given_from", "carried"),
    [
        (MINIMAL["instruct"], None, "instruct"),
        (MINIMAL["instruct"], "base", "base"),
        (MINIMAL["instruct"], "instruct", "instruct"),
        (CHAIN, None, "base"),
        (CHAIN, "base", "base"),
        (CHAIN, "instruct", "instruct"),
    ],
)
def test_outputs_carry_the_instructs_files_and_those_of_the_base_for_a_chain_unless_told(instruct, given_from, carried):
    assert spec(instruct=instruct, tokenizer_from=given_from).carried_parent == carried


def test_outputs_of_a_chain_are_named_after_its_tuned_model():
    assert spec(instruct=CHAIN, output_name="{base}/{instruct}-{lambda}").output_names("J") == ["base/a-0.5"]


def test_rule_states_a_factor_or_a_gradient():
    assert ScheduleRule(pattern="*", factor=0.5).factors == (0.5,)
    assert ScheduleRule(pattern="*", factor=0).factors == (0.0,)
    assert ScheduleRule(pattern="*", gradient=(0, 0.5, 1)).factors == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    "rule",
    [
        {"pattern": "*"},
        {"pattern": "*", "factor": None},
        {"pattern": "*", "factor": 0.5, "gradient": [0, 1]},
        {"pattern": "*", "gradient": []},
        {"pattern": "*", "gradient": [0.5]},
        {"pattern": "*", "gradient": [0.5] * 257},
        {"pattern": "*", "gradient": 0.5},
        {"pattern": "*", "gradient": [0.5, "0.5"]},
        {"pattern": "*", "gradient": [0.5, True]},
        {"pattern": "*", "gradient": [0.5, math.nan]},
        {"pattern": "*", "factor": True},
        {"pattern": "*", "factor": "0.5"},
        {"pattern": "*", "factor": math.nan},
        {"pattern": "*", "factor": math.inf},
        {"pattern": "*", "factor": 1e39},
        {"pattern": "*", "factor": 10**400},
        {"pattern": "", "factor": 1},
        {"pattern": "x" * 513, "factor": 1},
        {"pattern": None, "factor": 1},
        {"pattern": "\ud800", "factor": 1},
        {"factor": 1},
        {"pattern": "*", "factor": 1, "lambda": 0.5},
        "*",
        None,
        ["*", 1],
    ],
)
def test_rule_that_says_nothing_or_two_things_or_no_number_is_refused(rule):
    assert place_of_refusal(schedule=[{"pattern": "a", "factor": 1}, rule])[:2] == ("schedule", 1)


@pytest.mark.parametrize(
    "schedule", [None, {}, "x", [{"pattern": f"{at}", "factor": 1} for at in range(MAX_RULES + 1)]]
)
def test_schedule_is_a_list_of_at_most_64_rules(schedule):
    assert place_of_refusal(schedule=schedule) == ("schedule",)
    assert len(spec(schedule=[{"pattern": f"{at}", "factor": 1} for at in range(MAX_RULES)]).schedule) == MAX_RULES


@pytest.mark.parametrize(
    ("lam", "rule"),
    [
        (0.5, {"factor": 2.5}),
        (0.5, {"factor": -0.1}),
        (1.0, {"factor": 1.0000000000000002}),
        (0.5, {"gradient": [0.0, 3.0]}),
        (0.5, {"gradient": [0.5, -1.0, 0.5]}),
    ],
)
def test_strength_outside_0_to_1_by_a_factor_needs_allow_extrapolation_and_is_named(lam, rule):
    schedule = [{"pattern": "*", **rule}]
    with pytest.raises(ValidationError, match=rf"λ·factor = {lam}·.*allow_extrapolation"):
        spec(lambdas=[lam], schedule=schedule)
    assert spec(lambdas=[lam], schedule=schedule, allow_extrapolation=True).schedule


@pytest.mark.parametrize(
    ("lam", "rule"),
    [(0.5, {"factor": 2}), (0.0, {"factor": 9}), (1, {"gradient": [0, 1]}), (0.25, {"gradient": [4, 0]})],
)
def test_factor_above_one_is_fine_while_the_strength_is_not(lam, rule):
    assert spec(lambdas=[lam], schedule=[{"pattern": "*", **rule}]).lambdas == (lam,)


def test_lambda_outside_0_to_1_needs_allow_extrapolation_whatever_the_factors():
    with pytest.raises(ValidationError, match=r"λ = 2\.0 lies outside"):
        spec(lambdas=[2], schedule=[{"pattern": "*", "factor": 0.5}])


def test_strength_that_a_factor_makes_infinite_in_float32_is_refused_even_with_extrapolation():
    with pytest.raises(ValidationError, match="too large for float32"):
        spec(lambdas=[1e20], schedule=[{"pattern": "*", "factor": 1e20}], allow_extrapolation=True)


def test_negative_zero_as_a_factor_is_zero():
    one, other = (spec(schedule=[{"pattern": "*", "factor": zero}]) for zero in (0.0, -0.0))
    assert spec_digest(one) == spec_digest(other)


CHOICES = {
    "one_sided": ("refuse", "copy"),
    "other_shape": ("refuse", "base", "instruct"),
    "extra_rows": ("refuse", "copy"),
    "tokens": ("refuse", "ignore"),
    "integers": ("equal", "base", "instruct"),
    "non_finite": ("refuse", "keep"),
    "overflow": ("refuse", "keep"),
}


def test_policies_refuse_unless_told():
    assert Policies().model_dump() == {name: choices[0] for name, choices in CHOICES.items()}
    assert spec(policies={}) == spec()


@pytest.mark.parametrize(
    ("name", "choice"), [(name, choice) for name, choices in CHOICES.items() for choice in choices]
)
def test_each_policy_takes_each_of_its_choices_and_leaves_the_others_alone(name, choice):
    stated = spec(policies={name: choice}).policies.model_dump()
    assert stated == {**Policies().model_dump(), name: choice}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("choice", ["", "Copy", "allow", True, None, ["copy"]])
def test_policy_with_any_other_choice_is_refused(name, choice):
    assert place_of_refusal(policies={name: choice}) == ("policies", name)


@pytest.mark.parametrize("policies", [{"one-sided": "copy"}, {"missing": "copy"}, None, "copy", ["copy"]])
def test_policy_of_another_name_is_refused(policies):
    assert place_of_refusal(policies=policies)[0] == "policies"


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_seed_is_a_whole_number_of_63_bits(seed):
    assert spec(seed=seed).seed == seed


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, "x", None, math.inf])
def test_other_seeds_are_refused(seed):
    assert place_of_refusal(seed=seed) == ("seed",)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rounding", "up"), ("rounding", None), ("statistics", "none"), ("tokenizer_from", "reference")],
)
def test_choices_of_terms_are_closed(field, value):
    assert place_of_refusal(**{field: value}) == (field,)


@pytest.mark.parametrize(
    "change",
    [
        {"instruct": CHAIN},
        {"schedule": [{"pattern": "*", "factor": 1}]},
        {"policies": {"one_sided": "copy"}},
        {"rounding": "stochastic"},
        {"seed": 1},
        {"statistics": "sampled"},
    ],
)
def test_any_term_changes_the_digest(change):
    assert spec_digest(spec(**change)) != spec_digest(spec())


def test_order_of_chain_skips_and_rules_is_part_of_what_was_asked():
    def digest(**fields):
        return spec_digest(spec(**fields))

    rules = [{"pattern": "a", "factor": 1}, {"pattern": "b", "factor": 1}]
    assert digest(instruct={"delta_of": [A, B]}) != digest(instruct={"delta_of": [B, A]})
    assert digest(schedule=rules) != digest(schedule=rules[::-1])
    assert digest(instruct={**CHAIN, "skip": ["a", "b"]}) != digest(instruct={**CHAIN, "skip": ["b", "a"]})


factors = st.floats(0, 1)
rules = st.builds(
    lambda pattern, value: {
        "pattern": pattern,
        **({"gradient": value} if isinstance(value, list) else {"factor": value}),
    },
    st.text("ab*?.[", min_size=1, max_size=9),
    st.one_of(factors, st.lists(factors, min_size=2, max_size=4)),
)
sides = st.one_of(
    st.just(MINIMAL["instruct"]),
    st.lists(st.text("ab*?", min_size=1, max_size=5), max_size=3).map(lambda skip: {**CHAIN, "skip": skip}),
)
policies = st.fixed_dictionaries({}, optional={name: st.sampled_from(choices) for name, choices in CHOICES.items()})


@given(sides, st.lists(rules, max_size=4), policies, st.integers(0, 2**63 - 1))
def test_spec_with_every_term_survives_its_json(instruct, schedule, stated, seed):
    before = spec(instruct=instruct, schedule=schedule, policies=stated, seed=seed, rounding="stochastic")
    after = MergeSpec.model_validate_json(before.model_dump_json())
    assert after == before
    assert MergeSpec.model_validate(json.loads(json.dumps(before.model_dump(mode="json")))) == before
    assert spec_digest(after) == spec_digest(before)
    assert (after.sources, after.skip, after.carried_parent) == (before.sources, before.skip, before.carried_parent)
