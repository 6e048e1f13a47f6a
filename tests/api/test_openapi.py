"""The public surface, frozen: a change here is a change of the contract with every client."""

import pytest

from crossfade_api.problems import PROBLEM_JSON

OPERATIONS = {
    ("post", "/v1/merges", "submit_merge"): {"200", "202", "401", "403", "409", "413", "422", "429", "503"},
    ("post", "/v1/plans", "plan_merge"): {"200", "401", "403", "409", "413", "422", "503"},
    ("get", "/v1/merges", "list_merges"): {"200", "401", "403", "422", "503"},
    ("get", "/v1/merges/{job_id}", "get_merge"): {"200", "304", "401", "403", "404", "503"},
    ("post", "/v1/merges/{job_id}/cancel", "cancel_merge"): {"202", "401", "403", "404", "409", "503"},
    ("post", "/v1/merges/{job_id}/retry", "retry_merge"): {"202", "401", "403", "404", "409", "429", "503"},
    ("get", "/v1/merges/{job_id}/events", "stream_merge_events"): {"200", "401", "403", "404", "422", "503"},
    ("post", "/v1/keys", "create_key"): {"201", "401", "403", "409", "413", "422", "503"},
    ("get", "/v1/keys", "list_keys"): {"200", "401", "403", "503"},
    ("delete", "/v1/keys/{name}", "revoke_key"): {"200", "401", "403", "404", "422", "503"},
    ("get", "/healthz", "get_health"): {"200"},
    ("get", "/readyz", "get_readiness"): {"200", "503"},
}
JOB_FIELDS = {
    "id", "state", "phase", "spec", "spec_digest", "created_at", "updated_at", "started_at", "finished_at",
    "deadline_at", "submitted_by", "reused", "staged_until", "progress", "plan", "outputs", "error", "links",
}  # fmt: skip
PLAN_FIELDS = {
    "accepted", "obstacles", "job", "spec_digest", "sources", "tensors", "actions", "out_dtypes", "shards",
    "config_changes", "notes", "exceptions", "exception_count", "outputs", "read_bytes", "write_bytes_per_output",
    "write_bytes", "scratch_bytes", "estimate",
}  # fmt: skip


@pytest.fixture
def document(deployment):
    return deployment.client.get("/openapi.json").json()


def operations(document):
    return [(method, path, entry) for path, item in document["paths"].items() for method, entry in item.items()]


def test_the_operations_are_these_and_no_others(document):
    found = {
        (method, path, entry["operationId"]): set(entry["responses"]) for method, path, entry in operations(document)
    }
    assert found == OPERATIONS


def test_every_operation_says_what_it_does_and_where_it_belongs(document):
    tags = {tag["name"] for tag in document["tags"]}
    for _, _, entry in operations(document):
        assert entry["summary"]
        assert entry["description"]
        assert set(entry["tags"]) <= tags


def test_every_error_is_documented_as_a_problem(document):
    for _, _, entry in operations(document):
        for status, response in entry["responses"].items():
            if status >= "400":
                assert response["content"] == {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_the_shape_of_a_plan_is_frozen(document):
    report = document["components"]["schemas"]["PlanReport"]
    assert set(report["properties"]) == set(report["required"]) == PLAN_FIELDS
    assert report["additionalProperties"] is False


def test_the_shape_of_a_job_is_frozen(document):
    schemas = document["components"]["schemas"]
    assert set(schemas["JobView"]["properties"]) == JOB_FIELDS
    assert "lambda" in schemas["OutputView"]["properties"]
    assert schemas["MergeSpec"]["examples"]


def test_calls_under_v1_are_documented_to_take_a_key(document):
    for _, path, entry in operations(document):
        assert entry.get("security") == ([{"key": []}] if path.startswith("/v1/") else None)
