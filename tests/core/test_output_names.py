"""Models may be called anything; what their outputs are called is always a safe name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.output_name import check_output_name
from crossfade_core.spec import MergeSpec


def output_name(model, template="{instruct}"):
    fields = {"base": "local://models/base", "lambdas": [0.5], "destination": "outputs", "output_name": template}
    (name,) = MergeSpec.model_validate({**fields, "instruct": f"local://models/{model}"}).output_names("J")
    return name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tuned", "tuned"),
        ("Llama-3.1_8B-Instruct", "Llama-3.1_8B-Instruct"),
        ("my model (v2)", "my-model-v2"),
        ("org/my model (v2)", "my-model-v2"),
        ("-base", "base"),
        (".hidden", "hidden"),
        ("...", "model"),
        ("模型", "model"),
        ("Qwen 模型 7B", "Qwen-7B"),
        ("naïve", "na-ve"),
        ("a~b$(c)`d`", "a-b-c-d"),
        ("{lambda}", "lambda"),
    ],
)
def test_model_is_named_by_the_characters_that_are_safe(model, name):
    assert output_name(model) == name


def test_literal_text_of_a_template_is_not_rewritten():
    assert output_name("a b", "x/{instruct}_{lambda}/{job}") == "x/a-b_0.5/J"


@given(st.text(st.characters(exclude_characters="/\\"), min_size=1, max_size=60).filter(str.isprintable))
def test_name_of_any_model_is_safe(model):
    if model not in (".", ".."):
        assert check_output_name(output_name(model))
