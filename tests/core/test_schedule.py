"""Every tensor has the strength of exactly one rule: a factor of λ, or one along a gradient over its layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.errors import PlanRefused, ScheduleRefused
from crossfade_core.parents import Chain
from crossfade_core.plan import Action
from crossfade_core.schedule import factors, match_rules
from crossfade_core.schedule_rule import ScheduleRule
from tests.fakes.layouts import make_adapter, make_checkpoint, plan_pair, plan_parents, rows_of

LAYERS = [f"model.layers.{layer}.{part}.weight" for layer in range(9) for part in ("mlp", "self_attn")]
NAMES = ["model.embed_tokens.weight", *LAYERS, "model.norm.weight", "lm_head.weight"]


def rules_of(*stated):
    """Return rules, each given as (pattern, factor) or (pattern, [factors of a gradient])."""
    return tuple(
        ScheduleRule(pattern=pattern, **({"gradient": value} if isinstance(value, list) else {"factor": value}))
        for pattern, value in stated
    )


def strengths(names, *stated):
    rules = rules_of(*stated)
    return factors(match_rules(names, rules), rules)


def test_every_tensor_has_the_factor_of_its_rule():
    found = strengths(NAMES, ("*.mlp.*", 0.5), ("*.self_attn.*", 0.25), ("model.norm.weight", 0.0), ("*", 1.0))
    assert {found[name] for name in NAMES if ".mlp." in name} == {0.5}
    assert {found[name] for name in NAMES if ".self_attn." in name} == {0.25}
    assert (found["model.norm.weight"], found["lm_head.weight"], found[NAMES[0]]) == (0.0, 1.0, 1.0)


def test_rules_without_a_rest_must_cover_every_tensor():
    assert strengths(LAYERS, ("*.mlp.*", 0.5), ("*.self_attn.*", 1.0)).keys() == set(LAYERS)
    with pytest.raises(
        ScheduleRefused, match=r"no rule matches tensor 'model\.norm\.weight'.*'\*' for the rest"
    ) as caught:
        strengths([*LAYERS, "model.norm.weight"], ("*.mlp.*", 0.5), ("*.self_attn.*", 1.0))
    assert caught.value.details == {"tensor": "model.norm.weight"}


def test_tensor_that_two_rules_match_is_refused_with_both_named():
    with pytest.raises(
        ScheduleRefused, match=r"matches both rule 1 \('\*\.mlp\.\*'\) and rule 3 \('\*layers\.0\*'\)"
    ) as caught:
        strengths(NAMES, ("*.mlp.*", 0.5), ("*norm*", 0.5), ("*layers.0*", 1.0), ("*", 1.0))
    assert caught.value.details == {"tensor": LAYERS[0]}
    assert "disjoint" in caught.value.message


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_two_rules_that_agree_are_still_two(value):
    with pytest.raises(ScheduleRefused, match="matches both"):
        strengths(["w"], ("w", value), ("?", value))


@pytest.mark.parametrize("place", [0, 1])
def test_star_is_the_rest_only_as_the_last_rule(place):
    stated = [("*.mlp.*", 0.5), ("*norm*", 0.5)]
    stated.insert(place, ("*", 1.0))
    with pytest.raises(ScheduleRefused, match="matches both"):
        strengths(NAMES, *stated)


@pytest.mark.parametrize("rest", ["**", "*?", "?*"])
def test_other_pattern_that_matches_everything_is_no_rest(rest):
    with pytest.raises(ScheduleRefused, match="matches both"):
        strengths(NAMES, ("*.mlp.*", 0.5), (rest, 1.0))


def test_rest_may_be_left_with_nothing_and_may_stand_alone():
    assert strengths(["w"], ("w", 0.5), ("*", 1.0)) == {"w": 0.5}
    assert strengths(["w"], ("*", 0.5)) == {"w": 0.5}


def test_first_rule_that_matches_no_tensor_is_named():
    with pytest.raises(ScheduleRefused, match=r"rule 2 \('\*\.attention\.\*'\) matches no tensor; correct") as caught:
        strengths(NAMES, ("*.mlp.*", 0.5), ("*.attention.*", 1.0), ("*.nothing.*", 1.0), ("*", 1.0))
    assert caught.value.details == {"rule": 2}
    assert isinstance(caught.value, PlanRefused)


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        ([0.0, 1.0], [layer / 8 for layer in range(9)]),
        ([1.0, 0.0], [1 - layer / 8 for layer in range(9)]),
        ([0.0, 1.0, 0.0], [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]),
        ([0.5, 0.5], [0.5] * 9),
        ([0.0, 0.25, 0.5, 0.75, 1.0], [layer / 8 for layer in range(9)]),
        ([float(at) for at in range(17)], [float(2 * layer) for layer in range(9)]),
    ],
)
def test_gradient_is_spread_evenly_over_the_layers_and_linear_in_between(gradient, expected):
    found = strengths(LAYERS, ("*", gradient))
    assert [found[f"model.layers.{layer}.mlp.weight"] for layer in range(9)] == expected
    assert [found[f"model.layers.{layer}.self_attn.weight"] for layer in range(9)] == expected


floats = st.floats(-4, 4).map(lambda factor: factor + 0.0)


@given(st.lists(floats, min_size=2, max_size=9), st.integers(1, 40), st.integers(0, 5))
def test_gradients_own_factors_are_met_to_the_bit_and_never_left(gradient, last, first):
    names = [f"h.{layer}.w" for layer in range(first, first + last + 1)]
    found = strengths(names, ("h.*", gradient))
    assert (found[names[0]], found[names[-1]]) == (gradient[0], gradient[-1])
    for at, name in enumerate(names):
        if at * (len(gradient) - 1) % last == 0:
            assert found[name] == gradient[at * (len(gradient) - 1) // last]
        assert min(gradient) - 1e-15 <= found[name] <= max(gradient) + 1e-15


@given(floats, st.integers(2, 9), st.integers(1, 40))
def test_gradient_of_one_factor_is_that_factor_everywhere(factor, count, layers):
    names = [f"h.{layer}.w" for layer in range(layers)]
    assert set(strengths(names, ("*", [factor] * count)).values()) == {factor}


def test_gradient_of_a_single_layer_is_its_first_factor():
    assert strengths(["model.layers.3.w"], ("*", [0.25, 1.0])) == {"model.layers.3.w": 0.25}


def test_each_gradient_counts_from_the_first_to_the_last_layer_of_its_own_tensors():
    names = [*(f"vision.blocks.{at}.w" for at in range(3)), *(f"model.layers.{at}.w" for at in range(2, 7))]
    found = strengths(names, ("vision.*", [0.0, 1.0]), ("model.*", [1.0, 0.0]))
    assert [found[name] for name in names] == [0.0, 0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.7.mlp.weight", 7),
        ("transformer.h.7.attn.weight", 7),
        ("encoder.block.7.layer.1.weight", 7),
        ("bert.encoder.layer.7.output.weight", 7),
        ("visual.blocks.7.norm.weight", 7),
        ("layers.7", 7),
        ("model.layers.007.w", 7),
        ("model.layers.7.mlp.experts.3.w", 7),
    ],
)
def test_layer_number_is_found_in_names_of_many_families(name, layer):
    others = ["model.layers.0.w", "model.layers.14.w"]
    assert strengths([*others, name], ("*", [0.0, 14.0]))[name] == layer


@pytest.mark.parametrize(
    "name",
    ["model.norm.weight", "layers.w", "mylayers.3.w", "model.layers.3x.w", "layers.99999999.w", "layers.-1.w", ""],
)
def test_tensor_without_a_layer_number_under_a_gradient_is_refused_by_name(name):
    with pytest.raises(ScheduleRefused, match=r"has no layer number, which the gradient of rule '\*' needs") as caught:
        strengths(["model.layers.0.w", name], ("*", [0.0, 1.0]))
    assert caught.value.details == {"tensor": name}
    assert "factor" in caught.value.message


PAIR = [(name, "BF16", (4,)) for name in NAMES] + [("ids", "I64", (2,))]


def test_plan_gives_each_interpolated_row_its_factor_and_says_by_which_rule():
    schedule = [{"pattern": "*.layers.*", "gradient": [0.0, 1.0]}, {"pattern": "*", "factor": 0.5}]
    rows = rows_of(plan_pair(PAIR, PAIR, schedule=schedule))
    row = rows["model.layers.4.mlp.weight"]
    assert (row.factor, row.reason) == (0.5, "floating point in both parents; schedule rule 1, λ × 0.5")
    assert rows["model.norm.weight"].reason.endswith("schedule rule 2, λ × 0.5")
    assert (rows["ids"].action, rows["ids"].factor) == (Action.COPY_EQUAL, 1.0)
    assert "schedule" not in rows["ids"].reason


def test_plan_without_a_schedule_has_the_factor_one_everywhere():
    plan = plan_pair(PAIR, PAIR)
    assert {row.factor for row in plan.rows} == {1.0}
    assert not any("schedule" in row.reason for row in plan.rows)


def test_schedule_of_equal_strengths_gives_the_plan_of_the_number():
    schedule = [{"pattern": "*.mlp.*", "factor": 1.0}, {"pattern": "*.self_attn.*", "gradient": [1.0, 1.0, 1.0]}]
    scheduled = plan_pair(PAIR, PAIR, schedule=[*schedule, {"pattern": "*", "factor": 1.0}])
    plain = plan_pair(PAIR, PAIR)
    told = [(row.name, row.action, row.base, row.instruct, row.factor, row.start, row.end) for row in scheduled.rows]
    assert told == [
        (row.name, row.action, row.base, row.instruct, row.factor, row.start, row.end) for row in plain.rows
    ]


def test_tensor_that_is_copied_needs_its_rule_too():
    with pytest.raises(ScheduleRefused, match="no rule matches tensor 'ids'"):
        plan_pair(PAIR, PAIR, schedule=[{"pattern": "*weight", "factor": 1.0}])


def test_absorbed_tensor_needs_no_rule_and_satisfies_none():
    coded = [("w", "F8_E4M3", (64, 96)), ("w_scale_inv", "F32", (1, 1))]
    assert rows_of(plan_pair(coded, coded, schedule=[{"pattern": "w", "factor": 0.5}]))["w"].factor == 0.5
    with pytest.raises(ScheduleRefused, match="rule 2"):
        plan_pair(coded, coded, schedule=[{"pattern": "w", "factor": 0.5}, {"pattern": "*_scale_inv", "factor": 0.5}])


def test_rule_for_a_tensor_that_is_refused_matches_it_so_that_the_refusal_is_what_is_told():
    schedule = [{"pattern": "extra", "factor": 0.5}, {"pattern": "*", "factor": 1.0}]
    plan = plan_pair([*PAIR, ("extra", "BF16", (2,))], PAIR, schedule=schedule)
    assert [row.name for row in plan.refusals] == ["extra"]


def test_tied_head_is_matched_by_its_own_name():
    tensors = [(name, "BF16", (8, 4)) for name in ("model.embed_tokens.weight", "lm_head.weight")]
    tied = make_checkpoint(tensors[:1], config={"tie_word_embeddings": True})
    untied = make_checkpoint(tensors, config={"tie_word_embeddings": False})
    schedule = [{"pattern": "lm_head.weight", "factor": 0.25}, {"pattern": "*", "factor": 1.0}]
    rows = rows_of(plan_parents(tied, untied, schedule=schedule))
    assert (rows["lm_head.weight"].factor, rows["model.embed_tokens.weight"].factor) == (0.25, 1.0)


def test_chains_and_adapters_are_scheduled_too():
    base = make_checkpoint([("h.0.w", "BF16", (8, 4)), ("h.1.w", "BF16", (8, 4)), ("ln.weight", "BF16", (8, 8))])
    schedule = [{"pattern": "h.*", "gradient": [0.25, 0.75]}, {"pattern": "*", "factor": 0.5}]
    chained = rows_of(plan_parents(base, Chain(base, base), schedule=schedule, skip=["h.0.*"]))
    assert [chained[name].factor for name in ("h.0.w", "h.1.w", "ln.weight")] == [1.0, 0.75, 0.5]
    part = [("base_model.model.ln.lora_A.weight", "F32", (4, 8)), ("base_model.model.ln.lora_B.weight", "F32", (8, 4))]
    adapted = rows_of(plan_parents(base, make_adapter(part, base), schedule=schedule))
    assert [adapted[name].factor for name in ("h.0.w", "h.1.w", "ln.weight")] == [1.0, 1.0, 0.5]
    assert adapted["ln.weight"].reason == "adapter of rank 4; schedule rule 2, λ × 0.5"
