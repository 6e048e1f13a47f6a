"""A merge spec says what it means or is refused, and has one canonical form."""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crossfade_core.canonical_json import canonical_json
from crossfade_core.spec import ACCEPTED, MAX_LABELS, MAX_LAMBDAS, MergeSpec, spec_digest
from crossfade_core.strength import as_float32

MINIMAL = {
    "base": "local://models/base",
    "instruct": "local://models/tuned",
    "lambdas": [0.5],
    "destination": "outputs",
}


def spec(**fields):
    return MergeSpec.model_validate({**MINIMAL, **fields})


def refused(match=".", **fields):
    with pytest.raises(ValidationError, match=match) as caught:
        spec(**fields)
    return caught.value


def test_minimal_spec_has_the_documented_defaults():
    assert spec().model_dump(mode="json") == {
        **MINIMAL,
        "allow_extrapolation": False,
        "out_dtype": "auto",
        "output_name": "{instruct}-pad-{lambda}",
        "overwrite": False,
        "labels": {},
        "tokenizer_from": None,
        "schedule": [],
        "policies": {
            "one_sided": "refuse",
            "other_shape": "refuse",
            "extra_rows": "refuse",
            "tokens": "refuse",
            "integers": "equal",
            "non_finite": "refuse",
            "overflow": "refuse",
        },
        "rounding": "nearest",
        "seed": 0,
        "statistics": "exact",
        "priority": 0,
        "deadline_seconds": None,
        "fresh": False,
    }


def test_example_in_the_schema_is_a_valid_spec():
    (example,) = MergeSpec.model_json_schema()["examples"]
    assert MergeSpec.model_validate(example).lambdas == (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize("field", MINIMAL)
def test_each_of_the_four_required_fields_is_required(field):
    with pytest.raises(ValidationError, match=field):
        MergeSpec.model_validate({name: value for name, value in MINIMAL.items() if name != field})


def test_unknown_field_is_refused():
    assert refused(lamdas=[0.5]).errors()[0]["loc"] == ("lamdas",)


def test_spec_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        spec().overwrite = True


@pytest.mark.parametrize("count", [1, MAX_LAMBDAS])
def test_one_to_64_lambdas_are_allowed(count):
    assert len(spec(lambdas=[at / count for at in range(count)]).lambdas) == count


@pytest.mark.parametrize("lambdas", [[], [at / 65 for at in range(65)], None, 0.5, "0.5", {"0": 0.5}])
def test_other_than_a_list_of_1_to_64_lambdas_is_refused(lambdas):
    refused("lambdas", lambdas=lambdas)


@pytest.mark.parametrize("lam", [True, False, "0.5", None, [0.5], {}, "NaN"])
def test_lambda_that_is_no_number_is_refused(lam):
    assert refused(lambdas=[0.25, lam]).errors()[0]["loc"][:2] == ("lambdas", 1)


@pytest.mark.parametrize("lam", [math.nan, math.inf, -math.inf, 1e39, -1e39, 10**400])
def test_lambda_that_is_not_finite_in_float32_is_refused_even_with_extrapolation(lam):
    assert refused(lambdas=[lam], allow_extrapolation=True).errors()[0]["loc"][:2] == ("lambdas", 0)


def test_lambda_that_json_reads_as_infinite_is_refused():
    with pytest.raises(ValidationError, match="finite"):
        MergeSpec.model_validate_json(json.dumps(MINIMAL).replace("0.5", "1e999"))


@pytest.mark.parametrize("lam", [-0.1, 1.1, 1.0000000000000002, -5e-324, 2, -1])
def test_lambda_outside_0_to_1_needs_allow_extrapolation(lam):
    refused("allow_extrapolation", lambdas=[lam])
    assert spec(lambdas=[lam], allow_extrapolation=True).lambdas == (lam,)


def test_negative_zero_is_zero():
    (lam,) = spec(lambdas=[-0.0]).lambdas
    assert math.copysign(1, lam) == 1
    assert spec_digest(spec(lambdas=[-0.0])) == spec_digest(spec(lambdas=[0]))


@pytest.mark.parametrize(
    "lambdas",
    [
        [0.5, 0.5],
        [0, 0.0],
        [0.0, -0.0],
        [1, 0.3, 1.0],
        [0.1, 0.1 + 1e-12],
        [0.1, 0.10000000149011612],
        [0.0, 1e-50],
    ],
)
def test_lambdas_that_are_equal_in_float32_are_refused(lambdas):
    refused("same strength", lambdas=lambdas)


def test_neighbouring_float32_lambdas_are_distinct():
    low = as_float32(0.1)
    high = struct.unpack("<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", low))[0] + 1))[0]
    assert spec(lambdas=[low, high]).lambdas == (low, high)


def test_order_of_the_sweep_is_kept():
    assert spec(lambdas=[1, 0, 0.5]).lambdas == (1.0, 0.0, 0.5)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_values_round_to_themselves(lam):
    assert as_float32(lam) == lam


@pytest.mark.parametrize(
    ("lam", "name"),
    [
        (0, "tuned-pad-0.0"),
        (0.1, "tuned-pad-0.1"),
        (1 / 3, "tuned-pad-0.3333333333333333"),
        (1e-7, "tuned-pad-1e-07"),
        (-1.5, "tuned-pad--1.5"),
        (1e20, "tuned-pad-1e20"),
    ],
)
def test_output_is_named_by_the_shortest_text_of_its_lambda(lam, name):
    assert spec(lambdas=[lam], allow_extrapolation=True).output_names("J") == [name]


@given(st.floats(0, 1))
def test_lambda_in_an_output_name_reads_back_exactly(lam):
    (name,) = spec(lambdas=[lam], output_name="x/{lambda}").output_names("J")
    assert float(name.removeprefix("x/")) == lam


def test_template_fills_in_all_four_fields():
    template = "{job}/{base}_{instruct}/{lambda}"
    assert spec(lambdas=[0, 1], output_name=template).output_names("42") == ["42/base_tuned/0.0", "42/base_tuned/1.0"]


@pytest.mark.parametrize(
    "template",
    [
        "{lam}",
        "{}",
        "{0}",
        "{lambda",
        "lambda}",
        "{base.__class__}-{lambda}",
        "{base.__class__.__mro__[1].__subclasses__}-{lambda}",
        "{base[0]}-{lambda}",
        "{lambda!r}",
        "{lambda!}",
        "{lambda!s}",
        "{lambda:s}",
        "{lambda:.1}",
        "{lambda:0>999999999}",
        "{lambda:.2f}",
        "{lambda:{job}}",
        "{{lambda}}",
        "{ lambda }",
        "{Lambda}",
    ],
)
def test_template_with_anything_but_the_four_plain_fields_is_refused(template):
    refused("output_name|output name", output_name=template)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "../{lambda}",
        "a/../{lambda}",
        "..",
        "./{lambda}",
        "/{lambda}",
        "/etc/{lambda}",
        "a//{lambda}",
        "{lambda}/",
        ".{lambda}",
        "a/.{lambda}",
        "-{lambda}",
        "a\\{lambda}",
        "a {lambda}",
        "a\x00{lambda}",
        "a\n{lambda}",
        "{lambda}\n",
        "~{lambda}",
        "$HOME-{lambda}",
        "ü-{lambda}",
        "\ud800{lambda}",
        "a/b/c/d/{lambda}",
        "a" * 200 + "{lambda}",
    ],
)
def test_template_that_leads_elsewhere_is_refused(template):
    refused("output", output_name=template)


def test_template_that_gives_two_lambdas_one_name_is_refused():
    refused("use {lambda}", lambdas=[0, 1], output_name="{instruct}-{job}")
    assert spec(lambdas=[0.5], output_name="{instruct}").output_names("J") == ["tuned"]


def test_model_name_too_long_for_an_output_name_is_refused():
    refused("output name", instruct="local://models/" + "a" * 201)
    refused(
        "characters in all",
        output_name="{base}/{instruct}",
        base=f"local://m/{'b' * 120}",
        instruct=f"local://m/{'i' * 120}",
    )


def test_name_that_grows_too_long_with_a_real_job_id_is_refused_at_once():
    refused("output name", output_name="n" * 170 + "{job}")
    assert spec(output_name="n" * 160 + "{job}").output_names("J" * 36)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("local://models/a", "local://models/a"),
        ("local://models/org/a", "local://models/org/a"),
        ("local://models/a/", "local://models/a"),
        ("local://Models_2.x-y/a b/模型", "local://Models_2.x-y/a b/模型"),
        ("local://models/...", "local://models/..."),
    ],
)
def test_source_uri_is_read_and_made_canonical(written, canonical):
    assert spec(base=written).base == canonical


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "models/a",
        "/srv/models/a",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "LOCAL://models/a",
        "local:/models/a",
        "local://models",
        "local://models/",
        "local:///a",
        "local://../a",
        "local://-models/a",
        "local://mo dels/a",
        "local://models//a",
        "local://models/a//b",
        "local://models/..",
        "local://models/../a",
        "local://models/a/../b",
        "local://models/a/..",
        "local://models/./a",
        "local://models/a\\..\\b",
        "local://models/a\x00b",
        "local://models/a\nb",
        "local://models/a\x1b[2J",
        "local://models/\ud800",
        " local://models/a",
        "local://models/" + "a" * 1025,
        None,
        5,
    ],
)
@pytest.mark.parametrize("field", ["base", "instruct"])
def test_other_source_uris_are_refused(field, uri):
    assert refused(**{field: uri}).errors()[0]["loc"] == (field,)


@pytest.mark.parametrize("destination", ["", "../x", "a/b", "a b", "-a", ".a", "a\n", "a" * 65, None])
def test_destination_that_is_no_id_is_refused(destination):
    assert refused(destination=destination).errors()[0]["loc"] == ("destination",)


@pytest.mark.parametrize(("field", "value"), [("out_dtype", "bf16"), ("out_dtype", "int8"), ("tokenizer_from", "both")])
def test_choices_are_closed(field, value):
    assert refused(**{field: value}).errors()[0]["loc"] == (field,)


def test_labels_are_kept():
    labels = {"team/project": "évaluation 7", "a": "", "A.b_c-9": "x" * 256}
    assert spec(labels=labels).labels == labels


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"-a": "x"},
        {"a b": "x"},
        {"a\n": "x"},
        {"k" * 64: "x"},
        {"k": "v" * 257},
        {"k": "a\x00"},
        {"k": "a\nb"},
        {"k": "\ud800"},
        {"k": 5},
        {"k": None},
        {f"k{at}": "v" for at in range(MAX_LABELS + 1)},
        ["k"],
    ],
)
def test_labels_beyond_their_limits_are_refused(labels):
    assert refused(labels=labels).errors()[0]["loc"][0] == "labels"


def test_digest_of_a_spec_is_frozen():
    assert spec_digest(spec()) == "sha256:f9eef2f8375a60b6f07b72a4e201e258bd035ef1a35536828353c4ce6540b5cf"


def test_digest_of_a_spec_does_not_depend_on_when_it_runs():
    assert spec_digest(spec(deadline_seconds=60, priority=5)) == spec_digest(spec())


@pytest.mark.parametrize("priority", [-101, 101, 0.5, "high", None])
def test_priority_beyond_its_limits_is_refused(priority):
    assert refused(priority=priority).errors()[0]["loc"][0] == "priority"


@pytest.mark.parametrize("seconds", [0, -1, 91 * 24 * 3600, "soon", float("inf"), float("nan")])
def test_deadline_that_is_none_is_refused(seconds):
    assert refused(deadline_seconds=seconds).errors()[0]["loc"][0] == "deadline_seconds"


def test_canonical_json_is_sorted_tight_utf8_with_shortest_floats():
    assert (
        canonical_json({"b": [1.0, 0.1, 1e-7], "a": "λ", "A": None})
        == '{"A":null,"a":"λ","b":[1.0,0.1,1e-07]}'.encode()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_canonical_json_has_no_nan(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([value])


@given(st.permutations(list(spec(labels={"a": "1", "b": "2"}).model_dump(mode="json").items())))
def test_order_of_the_fields_does_not_change_the_digest(items):
    assert spec_digest(MergeSpec.model_validate(dict(items))) == spec_digest(spec(labels={"b": "2", "a": "1"}))


def test_defaults_spelled_out_do_not_change_the_digest():
    spelled_out = spec().model_dump(mode="json")
    assert spec_digest(MergeSpec.model_validate(spelled_out)) == spec_digest(spec())
    assert spec_digest(spec(base="local://models/base/")) == spec_digest(spec())
    assert spec_digest(spec(lambdas=[0, 1])) == spec_digest(spec(lambdas=[0.0, 1.0]))


@pytest.mark.parametrize(
    "change",
    [
        {"base": "local://models/other"},
        {"lambdas": [0.25]},
        {"lambdas": [0.5, 0.25]},
        {"allow_extrapolation": True},
        {"out_dtype": "float32"},
        {"destination": "other"},
        {"output_name": "x-{lambda}"},
        {"overwrite": True},
        {"labels": {"a": "b"}},
        {"tokenizer_from": "base"},
    ],
)
def test_any_other_word_changes_the_digest(change):
    assert spec_digest(spec(**change)) != spec_digest(spec())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8, unique_by=as_float32))
def test_spec_survives_its_json(lambdas):
    before = spec(lambdas=lambdas, labels={"k": "v"})
    after = MergeSpec.model_validate_json(before.model_dump_json())
    assert after == before
    assert spec_digest(after) == spec_digest(before)


def test_spec_that_was_accepted_by_other_rules_is_read_as_it_is():
    stored = {
        "base": "local://models/m\ufffdd",
        "instruct": "local://models/x\u200e",
        "lambdas": [0.5],
        "destination": "outputs",
        "labels": {"team": "gr\ufffd\u2028n"},
    }
    spec = MergeSpec.model_validate(stored, context=ACCEPTED)
    assert (spec.base, spec.instruct, spec.labels) == (stored["base"], stored["instruct"], stored["labels"])
