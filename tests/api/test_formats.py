"""What outputs say of themselves is explained by the API, without a key, in forms that machines and people read."""

import json

import jsonschema
import pytest

from crossfade_core.lineage import lineage_json
from crossfade_core.provenance import Builder, external_parameters
from infra.docs import build_type_page
from tests.core.output_facts import CHAIN, lineage, spec


def record(asked, **changes):
    return json.loads(lineage_json(lineage(asked, **changes)))


FIGURES = {"requested": 0.1, "unchanged_share": 0.5, "rounding_error": 1.0}
FILE = {"size_bytes": 5, "sha256": "ab" * 32}


def schema(deployment):
    answer = deployment.client.get("/schemas/lineage/3")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/schema+json")
    return answer.json()


@pytest.mark.parametrize("instruct", ["local://m/tuned", CHAIN])
def test_a_record_of_lineage_is_of_the_published_schema(deployment, instruct):
    told = schema(deployment)
    jsonschema.Draft202012Validator.check_schema(told)
    asked = spec(instruct=instruct)
    inputs = {role: {"model.safetensors": FILE} for role in asked.sources}
    document = record(
        asked,
        inputs=inputs,
        outputs={"config.json": FILE},
        statistics={"method": "exact", "realised": None, "relative_delta_norm": 0.1, "warnings": [], "tensors": []}
        | FIGURES,
        licences={"base": {"id": "mit", "name": None, "link": None}},
        signatures={"base": {"state": "verified", "key_id": "ab", "reason": None}},
    )
    jsonschema.validate(document, told)


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": "crossfade.lineage/2"},
        {"lambda": "0.1"},
        {"outputs": {"config.json": {"size_bytes": 5, "sha256": "AB"}}},
        {"inputs": {"base": {"files": {}}}},
        {"statistics": {}},
    ],
)
def test_what_is_no_record_is_not_of_the_schema(deployment, damage):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**record(spec()), **damage}, schema(deployment))


def test_the_build_type_explains_every_parameter_that_a_statement_can_have(deployment):
    page = deployment.client.get("/build-types/merge/1").json()
    explained = {row["name"]: row["meaning"] for row in page["parameters"]}
    used = [external_parameters(lineage(asked)).keys() for asked in (spec(), spec(instruct=CHAIN))]
    assert explained.keys() == set().union(*used)
    assert all(explained.values())


def test_provenance_names_pages_that_this_api_serves(deployment):
    place = Builder("http://127.0.0.1")
    assert deployment.client.get(place.build_type).status_code == 200
    builder = deployment.client.get(place.id).json()
    assert builder["build_types"] == ["/build-types/merge/1"]
    assert "signing key" in builder["meaning"]


def test_a_browser_gets_a_page(deployment):
    answer = deployment.client.get("/build-types/merge/1", headers={"accept": "text/html,*/*"})
    assert answer.headers["content-type"].startswith("text/html")
    assert "<code>lambda</code>" in answer.text


def test_the_page_in_docs_is_the_one_that_the_code_makes():
    assert build_type_page.PAGE.read_text(encoding="utf-8") == build_type_page.render(), "run `make docs` and commit"


def test_the_writer_tells_no_member_that_the_schema_does_not_know(deployment):
    assert record(spec()).keys() <= schema(deployment)["properties"].keys()
