"""Of requests: what the document forbids is refused, and what it allows is not."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade_core.source_ref import SOURCE_PATTERN, parse_source
from tests.api.conftest import SPEC


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/merges", "GET, POST"),
        ("/v1/keys", "GET, POST"),
        ("/v1/webhooks/some-hook", "DELETE, GET"),
        ("/v1/plans", "POST"),
        ("/healthz", "GET"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE"])
def test_allow_names_every_method_of_the_path(deployment, path, allowed, method):
    answer = deployment.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fresh", 0), ("overwrite", "true"), ("allow_extrapolation", 1), ("seed", "5"), ("seed", True),
        ("priority", "0"), ("deadline_seconds", "60"),
    ],
)  # fmt: skip
def test_text_is_no_number_and_a_number_no_boolean(deployment, field, value):
    answer = deployment.client.post("/v1/plans", json={**SPEC, field: value})
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"#/{field}"]


@pytest.mark.parametrize(
    "time", [0.5, 1_900_000_000, "1900000000", "2031-05-01", "2031-05-01 12:00:00Z", "0001-01-01T00:00:00+23:00"]
)
def test_time_is_rfc_3339_and_one_that_utc_has(deployment, time):
    answer = deployment.client.post("/v1/keys", json={"name": "a", "expires_at": time})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["#/expires_at"]
    assert deployment.client.get("/v1/audit", params={"until": time}).status_code == 422


@pytest.mark.parametrize("path", ["/v1/merges", "/v1/audit"])
def test_filter_that_is_misspelt_is_refused_rather_than_left_out(deployment, path):
    answer = deployment.client.get(path, params={"sttate": "FAILED"})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["query/sttate"]


@pytest.mark.parametrize("query", ["destination", "submitted_by", "label", "base"])
def test_nul_in_a_filter_never_reaches_the_database(deployment, query):
    value = "a=\x00" if query == "label" else "\x00"
    assert deployment.client.get("/v1/merges", params={query: value}).status_code == 422


@settings(max_examples=500)
@given(
    st.from_regex(SOURCE_PATTERN, fullmatch=True)
    | st.text("abg.-/@_:hf\\ \u200b\x00it").map(lambda text: f"hf://{text}")
    | st.text("ab./\\é\x85").map(lambda text: f"local://root/{text}")
)
def test_pattern_of_the_document_takes_the_sources_that_the_service_takes(uri):
    try:
        parse_source(uri)
    except ValueError:
        assert not re.search(SOURCE_PATTERN, uri)
    else:
        assert re.search(SOURCE_PATTERN, uri)
