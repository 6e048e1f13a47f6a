"""The public surface, frozen: a change here is a change of the contract with every client."""

import json
import re

import pytest

from crossfade_api.problems import PROBLEM_JSON

OPERATIONS = {
    ("post", "/v1/merges", "submit_merge"): {"200", "202", "401", "403", "409", "413", "422", "429", "503"},
    ("post", "/v1/plans", "plan_merge"): {"200", "401", "403", "409", "413", "422", "503"},
    ("get", "/v1/merges", "list_merges"): {"200", "401", "403", "422", "503"},
    ("get", "/v1/merges/{job_id}", "get_merge"): {"200", "304", "401", "403", "404", "503"},
    ("post", "/v1/merges/{job_id}/cancel", "cancel_merge"): {"202", "401", "403", "404", "409", "503"},
    ("post", "/v1/merges/{job_id}/retry", "retry_merge"): {"202", "401", "403", "404", "409", "429", "503"},
    ("post", "/v1/merges/{job_id}/outputs/{position}/approve", "approve_output"): {
        "200",
        "401",
        "403",
        "404",
        "409",
        "413",
        "422",
        "503",
    },
    ("post", "/v1/merges/{job_id}/outputs/{position}/reject", "reject_output"): {
        "200",
        "401",
        "403",
        "404",
        "409",
        "413",
        "422",
        "503",
    },
    ("get", "/v1/merges/{job_id}/events", "list_merge_events"): {"200", "401", "403", "404", "422", "503"},
    ("post", "/v1/keys", "create_key"): {"201", "401", "403", "409", "413", "422", "503"},
    ("get", "/v1/keys", "list_keys"): {"200", "401", "403", "503"},
    ("delete", "/v1/keys/{name}", "revoke_key"): {"200", "401", "403", "404", "422", "503"},
    ("post", "/v1/webhooks", "create_webhook"): {"201", "401", "403", "413", "422", "503"},
    ("get", "/v1/webhooks", "list_webhooks"): {"200", "401", "403", "503"},
    ("get", "/v1/webhooks/{webhook_id}", "get_webhook"): {"200", "401", "403", "404", "422", "503"},
    ("delete", "/v1/webhooks/{webhook_id}", "delete_webhook"): {"204", "401", "403", "404", "422", "503"},
    ("post", "/v1/webhooks/{webhook_id}/rotate", "rotate_webhook"): {"200", "401", "403", "404", "422", "503"},
    ("post", "/v1/webhooks/{webhook_id}/test", "test_webhook"): {"202", "401", "403", "404", "422", "503"},
    ("get", "/v1/webhooks/{webhook_id}/deliveries", "list_deliveries"): {"200", "401", "403", "404", "422", "503"},
    ("post", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", "replay_delivery"): {
        "202",
        "401",
        "403",
        "404",
        "422",
        "503",
    },
    ("get", "/v1/lineage", "get_lineage"): {"200", "401", "403", "404", "422", "503"},
    ("get", "/v1/audit", "list_audit_entries"): {"200", "401", "403", "422", "503"},
    ("get", "/problems", "list_problems"): {"200"},
    ("get", "/problems/{code}", "get_problem"): {"200", "404"},
    ("get", "/schemas/lineage/3", "get_lineage_schema"): {"200"},
    ("get", "/build-types/merge/1", "get_build_type"): {"200"},
    ("get", "/builders/control", "get_builder"): {"200"},
    ("get", "/healthz", "get_health"): {"200"},
    ("get", "/readyz", "get_readiness"): {"200", "503"},
}
JOB_FIELDS = {
    "id", "state", "phase", "spec", "spec_digest", "created_at", "updated_at", "started_at", "merging_at",
    "cancel_requested_at", "finished_at", "deadline_at", "submitted_by", "requires_approval", "reused", "staged_until",
    "progress", "plan", "outputs", "error", "links",
}  # fmt: skip
PLAN_FIELDS = {
    "accepted", "obstacles", "job", "spec_digest", "sources", "tensors", "actions", "out_dtypes", "shards",
    "config_changes", "notes", "exceptions", "exception_count", "outputs", "requires_approval", "read_bytes",
    "write_bytes_per_output", "write_bytes", "scratch_bytes", "estimate",
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
    counted = {path for _, path, _ in OPERATIONS if path.startswith("/v1/")}
    # Of what is counted one may send too much, and of what takes a body one that cannot be read.
    assert found == {
        key: answers | ({"429"} if key[1] in counted else set()) | ({"400"} if "413" in answers else set())
        for key, answers in OPERATIONS.items()
    }


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


def test_every_counted_call_documents_its_quota_and_when_to_come_back(document):
    for _, path, entry in operations(document):
        for status, response in entry["responses"].items():
            told = set(response.get("headers", {}))
            assert {"RateLimit", "RateLimit-Policy"} <= told or status == "401" or not path.startswith("/v1/")
            assert ("Retry-After" in told) == (path.startswith("/v1/") and status in ("429", "503"))
    references = re.findall(r'"#/components/headers/([\w-]+)"', json.dumps(document))
    assert set(references) == set(document["components"]["headers"])


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


def test_no_parameter_may_be_null_which_no_url_can_say(document):
    for _, _, entry in operations(document):
        assert not [found for found in entry.get("parameters", ()) if "null" in json.dumps(found["schema"])]


def test_limits_of_whole_numbers_are_written_whole(document):
    assert document["components"]["schemas"]["MergeSpec"]["properties"]["seed"]["exclusiveMaximum"] == 2**63
    assert '"exclusiveMaximum":9223372036854775808' in json.dumps(document, separators=(",", ":"))


def test_every_link_leads_to_an_operation_with_the_parameters_it_gives(document):
    parameters = {
        entry["operationId"]: {found["name"] for found in entry.get("parameters", ()) if found["in"] == "path"}
        for _, _, entry in operations(document)
    }
    links = [
        link
        for _, _, entry in operations(document)
        for response in entry["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert {link["operationId"] for link in links} == {name for name, needed in parameters.items() if needed}
    assert all(set(link["parameters"]) == parameters[link["operationId"]] for link in links)
