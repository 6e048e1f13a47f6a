"""mergekit's configuration of the same merge: YAML that says it in mergekit's words, and says what it leaves out.

That mergekit then makes the same tensors is held in `tests/bench/same_merge.py`, where mergekit is installed.
"""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.mergekit_config import mergekit_config
from crossfade_core.mergekit_weights import MAX_TENSORS
from tests.core.output_facts import CHAIN, ON_THE_HUB, PINNED, digest, lineage, spec

PLAN = {"tensors": 3, "out_dtypes": {"BF16": 3}}
NAMES = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight")


def told(names=NAMES):
    return {"tensors": [{"tensor": name, "requested": 0.1} for name in names]}


def config(facts):
    return yaml.safe_load(mergekit_config(facts))


def comments(facts):
    return "\n".join(line for line in mergekit_config(facts).decode().splitlines() if line.startswith("#"))


def weight(facts, model=0):
    return config(facts)["models"][model]["parameters"]["weight"]


def test_merge_of_two_is_task_arithmetic_in_float32_with_weight_lambda_by_commit():
    facts = lineage(spec(**ON_THE_HUB), sources=PINNED)
    assert config(facts) == {
        "merge_method": "task_arithmetic",
        "base_model": f"acme/base@{'a' * 40}",
        "models": [{"model": f"acme/tuned@{'b' * 40}", "parameters": {"weight": 0.1}}],
        "parameters": {"normalize": False, "lambda": 1.0},
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }


def test_chain_adds_a_and_takes_b_away():
    found = config(lineage(spec(instruct={"delta_of": ["local://m/chat", "local://m/old"]})))
    assert found["base_model"] == "base"
    assert [(each["model"], each["parameters"]["weight"]) for each in found["models"]] == [("chat", 0.1), ("old", -0.1)]


def test_chain_from_the_base_itself_is_a_merge_of_two():
    found = config(lineage(spec(instruct={"delta_of": ["local://m/chat", "local://m/base"]})))
    assert [each["model"] for each in found["models"]] == ["chat"]


def test_adapter_is_named_behind_its_model():
    adapter = {"instruct": {"adapter_config.json": digest("a"), "adapter_model.safetensors": digest("b")}}
    hub = lineage(spec(**ON_THE_HUB), sources=PINNED, inputs=adapter)
    assert config(hub)["models"][0]["model"] == f"acme/base@{'a' * 40}+acme/tuned@{'b' * 40}"
    odd = lineage(spec(base="local://m/b+c", instruct="local://m/tuned"), inputs=adapter)
    assert config(odd)["models"][0]["model"] == {"model": {"path": "b+c"}, "lora": {"path": "tuned"}}
    assert "--lora-merge-dtype float32" in comments(hub)


@pytest.mark.parametrize("path", ["a@b", "a+b"])
def test_path_that_could_be_read_as_revision_or_adapter_is_a_mapping(path):
    assert config(lineage(spec(base=f"local://m/{path}")))["base_model"] == {"model": {"path": path}}


@pytest.mark.parametrize(
    ("asked", "found", "out_dtype"),
    [
        ("auto", {"F16": 3}, "float16"),
        ("auto", {"BF16": 2, "F32": 5, "I64": 9}, "float32"),
        ("auto", {}, "float32"),
        ("float16", {"BF16": 3}, "float16"),
    ],
)
def test_out_dtype_is_ours(asked, found, out_dtype):
    facts = lineage(spec(out_dtype=asked), plan={**PLAN, "out_dtypes": found})
    assert config(facts)["out_dtype"] == out_dtype
    assert ("several dtypes" in comments(facts)) == (len(found) > 1)


def test_patterns_around_words_are_filters_and_the_rest_comes_last():
    rules = [{"pattern": "*mlp*", "factor": 0.5}, {"pattern": "*q_proj*", "factor": 0}, {"pattern": "*", "factor": 1}]
    assert weight(lineage(spec(schedule=rules))) == [
        {"value": 0.05, "filter": "mlp"},
        {"value": 0.0, "filter": "q_proj"},
        {"value": 0.1},
    ]
    assert weight(lineage(spec(schedule=[{"pattern": "*", "factor": 0.5}]))) == 0.05


def test_skipped_tensors_have_no_weight_in_a_or_b():
    facts = lineage(spec(instruct=CHAIN))
    assert weight(facts) == [{"value": 0.0, "filter": "embed_tokens"}, {"value": 0.1}]
    assert weight(facts, 1) == [{"value": 0.0, "filter": "embed_tokens"}, {"value": -0.1}]


def test_gradient_is_written_out_tensor_by_tensor_longest_names_first():
    rules = [{"pattern": "*mlp*", "gradient": [0, 1]}, {"pattern": "*", "factor": 0.5}]
    assert weight(lineage(spec(schedule=rules), told=told())) == [
        {"value": 0.0, "filter": "model.layers.0.mlp.up_proj.weight"},
        {"value": 0.1, "filter": "model.layers.1.mlp.up_proj.weight"},
        {"value": 0.05, "filter": "model.embed_tokens.weight"},
        {"value": 0.1},
    ]


def test_skip_by_another_pattern_is_written_out_and_finds_what_was_copied_for_it():
    chain = {**CHAIN, "skip": ["model.embed*"]}
    exceptions = [
        {"tensor": NAMES[0], "action": "copy_base", "reason": "skipped"},
        {"tensor": "lora.scale", "action": "absorb", "reason": "-"},
    ]
    found = weight(lineage(spec(instruct=chain), told=told(NAMES[1:]), exceptions=exceptions))
    assert {each.get("filter"): each["value"] for each in found} == {
        NAMES[0]: 0.0,
        NAMES[1]: 0.1,
        NAMES[2]: 0.1,
        None: 0.1,
    }


def test_schedule_over_too_many_tensors_is_left_out_and_that_is_said():
    rules = [{"pattern": "*", "gradient": [0, 1]}]
    names = [f"model.layers.{number}.weight" for number in range(MAX_TENSORS + 1)]
    facts = lineage(spec(schedule=rules), told=told(names))
    assert weight(facts) == 0.1
    assert "the schedule" in comments(facts)
    assert "the schedule" not in comments(lineage(spec(schedule=rules), told=told(names[:-1])))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (lineage(), 'the base is "local://m/base": run mergekit in the folder that the service calls m'),
        (lineage(spec(base="s3://bucket/some/prefix")), "mergekit reads no S3"),
        (lineage(spec(rounding="stochastic", seed=7)), "stochastic rounding, seed 7"),
        (lineage(spec(policies={"one_sided": "copy"})), "policy one_sided: copy"),
        (lineage(config_changes={"/dtype": "bfloat16"}), 'config.json differs from the parent\'s in "/dtype"'),
        (lineage(inputs={"instruct": {"tokenizer.json": digest("a")}}), "the tokenizer is the instruct's"),
        *(
            (lineage(exceptions=[{"tensor": "odd", "action": action, "reason": "-"}] * 5), said)
            for action, said in [
                ("interpolate", "5 tensor(s) whose longer parent"),
                ("copy_base", '5 tensor(s) copied from the base: "odd", "odd", "odd" and 2 more'),
                ("copy_instruct", "5 tensor(s) copied from the instruct"),
                ("absorb", "5 tensor(s) read into other tensors"),
            ]
        ),
    ],
)
def test_what_it_cannot_express_is_said_in_a_comment(facts, said):
    assert said in comments(facts)
    assert yaml.safe_load(mergekit_config(facts))["merge_method"] == "task_arithmetic"


@pytest.mark.parametrize(
    "facts",
    [
        lineage(spec(instruct=CHAIN), exceptions=[{"tensor": NAMES[0], "action": "copy_base", "reason": "skipped"}]),
        lineage(
            inputs={"instruct": {"adapter_config.json": digest("a")}},
            exceptions=[{"tensor": "norm", "action": "copy_base", "reason": "not touched by the adapter"}],
        ),
    ],
)
def test_tensor_that_differs_from_the_base_by_nothing_is_not_said_to_be_left_out(facts):
    assert "copied" not in comments(facts)


def test_nothing_is_said_to_be_missing_where_nothing_is():
    assert "cannot say" not in comments(lineage(spec(**ON_THE_HUB, tokenizer_from="base"), sources=PINNED))


@pytest.mark.parametrize("lam", [1e-05, 0.1, 1.0, 2e20, -0.5, 1.5e-10])
def test_strength_reads_back_as_the_number_it_is(lam):
    asked = spec(lambdas=[lam], allow_extrapolation=True)
    assert weight(lineage(asked, lam=lam)) == lam


@given(st.text(min_size=1, max_size=40))
def test_words_of_strangers_stay_words(words):
    facts = lineage(
        spec(), config_changes={words: 1}, exceptions=[{"tensor": words, "action": "copy_base", "reason": ""}]
    )
    assert set(config(facts)) == {"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype"}
    plain = words.replace("*", "").replace("?", "")
    if plain:
        rules = [{"pattern": f"*{plain}*", "factor": 0}, {"pattern": "*", "factor": 1}]
        assert weight(lineage(spec(schedule=rules)))[0] == {"value": 0.0, "filter": plain}
