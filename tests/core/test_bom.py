"""The bill of materials: valid by the strict validator of CycloneDX's own library, complete, always the same."""

import json
from importlib.resources import files as resources

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from crossfade_core.bom import _SPDX, bom_json
from crossfade_core.licence import HUB_LICENCES
from tests.core.output_facts import CHAIN, ON_THE_HUB, OUTPUTS, PINNED, digest, lineage, spec

MIT = {"id": "mit", "name": None, "link": None}
GNU = {"AGPL-3.0", "GPL-2.0", "GPL-3.0", "LGPL-2.1", "LGPL-3.0"}


def bom(facts, files=OUTPUTS):
    raw = bom_json(facts, files)
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(raw.decode()) is None
    return json.loads(raw)


def properties(component):
    return {each["name"].removeprefix("crossfade:"): each["value"] for each in component["properties"]}


@pytest.mark.parametrize(
    "facts",
    [
        lineage(),
        lineage(spec(instruct=CHAIN)),
        lineage(spec(base="local://m/größe & (v2)/a|b", instruct="s3://bucket/some prefix")),
        lineage(spec(**ON_THE_HUB), sources=PINNED, licences={"base": MIT, "instruct": MIT}),
        lineage(licences={"base": {"id": "other", "name": "x y", "link": "https://a.example/b"}, "instruct": None}),
        lineage(software=[], inputs={}, told={"realised": None, "relative_delta_norm": None}),
        lineage(
            told={"warnings": ["λ = 0.1 was realised as 0.027"]}, software=[{"crossfade": "1"}, {"crossfade": "2"}]
        ),
    ],
)
def test_every_kind_of_output_gives_a_bill_that_the_strict_validator_takes(facts):
    assert bom(facts)["metadata"]["component"]["type"] == "machine-learning-model"


def test_validator_would_tell_of_a_bill_that_is_wrong():
    raw = bom_json(lineage(), OUTPUTS).decode().replace('"modelCard"', '"modelcard"')
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(raw) is not None


def test_ancestors_on_the_hub_are_named_by_package_url_with_commit_and_every_file_read():
    facts = lineage(spec(**ON_THE_HUB), sources=PINNED)
    base, tuned = bom(facts)["metadata"]["component"]["pedigree"]["ancestors"]
    url = PackageURL.from_string(tuned["purl"])
    assert (url.type, url.namespace, url.name, url.version) == ("huggingface", "acme", "tuned", "b" * 40)
    assert base["purl"] == f"pkg:huggingface/acme/base@{'a' * 40}"
    assert base["version"] == "a" * 40
    assert [(file["name"], file["hashes"]) for file in base["components"]] == [
        ("base.safetensors", [{"alg": "SHA-256", "content": "b" * 64}])
    ]


def test_ancestor_in_a_folder_has_no_package_url_and_its_uri_as_a_property():
    for ancestor in bom(lineage(spec(instruct=CHAIN)))["metadata"]["component"]["pedigree"]["ancestors"]:
        assert "purl" not in ancestor
        assert properties(ancestor)["uri"].startswith("local://m/")
    assert properties(ancestor)["role"] == "reference"


def test_every_file_that_stays_as_it_is_stands_in_it_with_its_digest():
    told = bom(lineage(), {**OUTPUTS, "sweep.svg": digest("6"), "README.md": digest("7")})
    assert {file["name"]: file["hashes"][0]["content"] for file in told["components"]} == {
        **{name: about["sha256"] for name, about in OUTPUTS.items()},
        "sweep.svg": "6" * 64,
    }
    refs = [file["bom-ref"] for file in told["components"]]
    assert told["dependencies"] == [{"ref": "model", "dependsOn": refs}]


def test_model_tells_formula_strength_job_figures_and_warnings():
    facts = lineage(told={"warnings": ["most of it was rounded away"]})
    model = bom(facts)["metadata"]["component"]
    assert (model["name"], model["version"]) == ("tuned-pad-0.1", "job-1")
    assert properties(model) == {
        "formula": "M(λ) = base + λ·(instruct − base)",
        "lambda": "0.1",
        "job": "job-1",
        "spec_digest": facts.spec_digest,
        "machine": "x86_64",
    }
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "realised strength", "value": "0.0268"},
        {"type": "relative delta norm", "value": "0.0013"},
    ]
    assert model["modelCard"]["considerations"]["technicalLimitations"] == ["most of it was rounded away"]


def test_tools_are_each_version_once_and_no_machine():
    software = [{"crossfade": "1", "machine": "x86_64"}, {"crossfade": "1", "machine": "aarch64"}, {"crossfade": "2"}]
    tools = bom(lineage(software=software))["metadata"]["tools"]["components"]
    assert [(tool["name"], tool["version"]) for tool in tools] == [("crossfade", "1"), ("crossfade", "2")]


def test_licences_are_spdx_where_spdx_has_them_and_words_elsewhere():
    licences = {"base": {"id": "Apache-2.0"}, "instruct": {"id": "llama3.1", "name": None, "link": "LICENSE"}}
    model = bom(lineage(licences=licences))["metadata"]["component"]
    assert "licenses" not in model
    assert [each["licenses"] for each in model["pedigree"]["ancestors"]] == [
        [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}],
        [{"license": {"name": "llama3.1", "acknowledgement": "declared"}}],
    ]
    alike = bom(lineage(licences={"base": MIT, "instruct": MIT}))["metadata"]["component"]
    assert alike["licenses"] == [{"license": {"id": "MIT", "acknowledgement": "declared"}}]


def test_spdx_names_are_spdxs_own_of_all_the_hub_knows_but_the_gnu_ones():
    schema = json.loads(resources("cyclonedx").joinpath("schema/_res/spdx.SNAPSHOT.schema.json").read_text())
    known = {name for name in schema["enum"] if name.lower() in HUB_LICENCES}
    assert set(_SPDX) == known - GNU


def test_serial_number_is_that_of_the_facts_and_time_that_of_the_job():
    told = bom(lineage())
    assert told == bom(lineage())
    assert told["metadata"]["timestamp"] == "2026-11-20T17:00:00+00:00"
    others = [
        bom(lineage(lam=0.2)),
        bom(lineage(job_id="job-2")),
        bom(lineage(spec(seed=1))),
        bom(lineage(), {**OUTPUTS, "config.json": digest("0")}),
    ]
    assert len({each["serialNumber"] for each in (told, *others)}) == 5
    assert bom(lineage(), dict(reversed(OUTPUTS.items()))) == told
