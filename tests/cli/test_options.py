"""The help's words against the spec's."""

import json
from pathlib import Path
from typing import get_args

import pytest
import typer

from crossfade_cli.options import OutDtype, OutputName, Parent, TokenizerFrom, read_pairs, read_spec
from crossfade_cli.terms import (
    POLICIES,
    Rounding,
    RoundingOption,
    Seed,
    Statistics,
    StatisticsOption,
    read_skip,
    read_terms,
)
from crossfade_core import spec
from crossfade_core.spec import MergeSpec


def test_the_choices_are_those_of_the_spec():
    assert [choice.value for choice in OutDtype] == list(get_args(spec.OutDtype))
    assert {choice.value for choice in Parent} == set(get_args(spec.Parent))
    assert [choice.value for choice in Rounding] == list(get_args(spec.Rounding))
    assert [choice.value for choice in Statistics] == list(get_args(spec.Statistics))


def test_the_policies_are_those_of_the_spec_the_default_first():
    fields = spec.Policies.model_fields
    assert {name: set(values) for name, values in POLICIES.items()} == {
        name: set(get_args(field.annotation)) for name, field in fields.items()
    }
    assert {name: values[0] for name, values in POLICIES.items()} == spec.Policies().model_dump()


@pytest.mark.parametrize(
    ("option", "field"),
    [
        (OutputName, "output_name"),
        (RoundingOption, "rounding"),
        (Seed, "seed"),
        (StatisticsOption, "statistics"),
    ],
)
def test_the_defaults_in_the_help_are_those_of_the_spec(option: object, field: str):
    help_text = get_args(option)[1].help
    assert f"[default: {MergeSpec.model_fields[field].default}]" in help_text


def test_the_parent_that_the_help_says_gives_the_tokenizer_is_that_of_the_spec():
    plain = {"base": "local://m/base", "instruct": "local://m/a", "lambdas": [0.5], "destination": "out"}
    chain = plain | {"instruct": {"delta_of": ["local://m/a", "local://m/b"]}}
    carried = [MergeSpec.model_validate(fields).carried_parent for fields in (plain, chain)]
    assert "[default: {}; {} with --minus]".format(*carried) in get_args(TokenizerFrom)[1].help


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


NOTHING = {"schedule": None, "rules": None, "policies": None, "rounding": None, "seed": None, "statistics": None}


def terms_of(**given: object) -> dict[str, object]:
    return {name: value for name, value in read_terms(**{**NOTHING, **given}).items() if value}


def a_spec(**terms: object) -> MergeSpec:
    return MergeSpec(base="local://m/b", instruct="local://m/i", lambdas=(0.5,), destination="out", **terms)


def test_terms_that_are_not_given_are_left_to_the_spec():
    assert terms_of() == {}
    assert read_spec(["0.5"], out_dtype=None, tokenizer_from=None, **read_terms(**NOTHING)) == {"lambdas": [0.5]}


def test_rules_are_factors_and_gradients_in_their_order():
    made = a_spec(**terms_of(rules=["*mlp*=0.5", "*attn*=0,0.5,1", "a=b=0.25", "*=1"]))
    assert [(rule.pattern, rule.factor, rule.gradient) for rule in made.schedule] == [
        ("*mlp*", 0.5, None),
        ("*attn*", None, (0.0, 0.5, 1.0)),
        ("a=b", 0.25, None),
        ("*", 1.0, None),
    ]


def test_a_schedule_from_a_file_is_that_of_the_same_rules(tmp_path: Path):
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps([{"pattern": "*mlp*", "gradient": [0, 1]}, {"pattern": "*", "factor": 1}]))
    assert a_spec(**terms_of(schedule=file)) == a_spec(**terms_of(rules=["*mlp*=0,1", "*=1"]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "JSON list of rules"),
        (b"[]", "JSON list of rules"),
        (b"[" * 100_000, "cannot be read"),
        (b"[NaN]", "NaN"),
        (b"\xff", "cannot be read"),
        (b" " * 1_000_001, "1 MB at most"),
    ],
)
def test_a_schedule_file_that_holds_none_is_wrong_usage(tmp_path: Path, content: bytes, reason: str):
    file = tmp_path / "schedule.json"
    file.write_bytes(content)
    with pytest.raises(typer.BadParameter, match=reason):
        terms_of(schedule=file)


def test_a_schedule_file_that_is_not_there_is_wrong_usage(tmp_path: Path):
    with pytest.raises(typer.BadParameter, match="No such file"):
        terms_of(schedule=tmp_path / "missing.json")


def test_policies_rounding_seed_and_statistics_reach_the_spec():
    given = {"policies": ["one_sided=copy", "overflow=keep"], "rounding": Rounding.STOCHASTIC, "seed": 7}
    made = a_spec(**terms_of(**given, statistics=Statistics.SAMPLED))
    assert made.policies == spec.Policies(one_sided="copy", overflow="keep")
    assert (made.rounding, made.seed, made.statistics) == ("stochastic", 7, "sampled")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rules": ["*mlp*"]}, "PATTERN=FACTOR"),
        ({"rules": ["=1"]}, "PATTERN=FACTOR"),
        ({"rules": ["*=x"]}, "no number"),
        ({"rules": ["*="]}, "no number"),
        ({"rules": ["*=1,"]}, "no number"),
        ({"rules": ["*=nan"]}, "not finite"),
        ({"rules": ["*=1e999"]}, "not finite"),
        ({"rules": ["*=1"], "schedule": Path("x.json")}, "not both"),
        ({"policies": ["onesided=copy"]}, "'onesided' is none; there are one_sided"),
        ({"policies": ["one_sided=base"]}, "one_sided cannot be 'base', but one of refuse, copy"),
        ({"policies": ["one_sided"]}, "NAME=VALUE"),
    ],
)
def test_terms_that_cannot_be_read_are_wrong_usage(given: dict[str, object], reason: str):
    with pytest.raises(typer.BadParameter, match=reason):
        terms_of(**given)


def test_there_is_nothing_to_skip_without_a_reference():
    assert read_skip("local://m/old", ["*embed*"]) == ["*embed*"]
    assert read_skip(None, None) == []
    with pytest.raises(typer.BadParameter, match="--minus"):
        read_skip(None, ["*embed*"])
