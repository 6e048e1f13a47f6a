"""The help's words against the spec's."""

from typing import get_args

import pytest
import typer

from crossfade_cli.options import OutDtype, OutputName, Parent, TokenizerFrom, read_pairs, read_spec
from crossfade_core import spec
from crossfade_core.spec import MergeSpec


def test_the_choices_are_those_of_the_spec():
    assert [choice.value for choice in OutDtype] == list(get_args(spec.OutDtype))
    assert {choice.value for choice in Parent} == set(get_args(spec.Parent))


@pytest.mark.parametrize(("option", "field"), [(OutputName, "output_name"), (TokenizerFrom, "tokenizer_from")])
def test_the_defaults_in_the_help_are_those_of_the_spec(option: object, field: str):
    help_text = get_args(option)[1].help
    assert f"[default: {MergeSpec.model_fields[field].default}]" in help_text


def test_what_is_not_given_is_left_to_the_spec():
    read = read_spec(["0,1"], out_dtype=None, tokenizer_from=None, overwrite=False, output_name=None, labels={})
    assert read == {"lambdas": [0.0, 1.0]}


def test_what_is_given_makes_a_valid_spec():
    read = read_spec(
        ["0:2:1"],
        out_dtype=OutDtype.FLOAT32,
        tokenizer_from=Parent.BASE,
        base="local://m/base",
        instruct="local://m/instruct",
        destination="outputs",
        allow_extrapolation=True,
        overwrite=True,
        output_name="{job}/{lambda}",
        labels={"team": "eval"},
    )
    made = MergeSpec.model_validate(read)
    assert (made.out_dtype, made.tokenizer_from, made.labels) == ("float32", "base", {"team": "eval"})
    assert made.lambdas == (0.0, 1.0, 2.0)


def test_pairs_keep_what_stands_behind_their_first_equals_sign():
    assert read_pairs(["a=1", "b=x=y", "c="], "--label") == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("texts", [["a"], ["=a"], ["a=1", "a=2"]])
def test_what_is_no_pair_or_doubled_is_wrong_usage(texts: list[str]):
    with pytest.raises(typer.BadParameter):
        read_pairs(texts, "--root")
