"""`GET /v1/lineage`: what is asked for and how, what is answered, and to whom."""

import pytest

from crossfade_core.lineage_graph import checkpoint_digest

SHARD, OTHER = "ab" * 32, "cd" * 32
BASE = {"uri": f"hf://acme/base@{'0f' * 20}", "files": {"model.safetensors": {"size_bytes": 5, "sha256": OTHER}}}
CHECKPOINT = f"sha256:{checkpoint_digest({'model.safetensors': SHARD})}"


@pytest.fixture
def published(deployment):
    """A job of which one output is published; its job's id."""
    job_id = deployment.begin(deployment.submit()["id"])
    files = {"model.safetensors": {"size_bytes": 500, "sha256": SHARD}}
    deployment.store.publish_output(job_id, 1, "file:///outputs/x", files, inputs={"base": BASE})
    return job_id


def ask(deployment, **params):
    return deployment.client.get("/v1/lineage", params=params)


def answer(deployment, **params):
    response = ask(deployment, **params)
    assert response.status_code == 200, response.text
    return response.json()


def test_an_output_is_told_with_what_it_was_made_of(deployment, published):
    told = answer(deployment, uri="file:///outputs/x")
    (match,) = told["matches"]
    assert match.pop("at").endswith("Z")
    assert match == {
        "checkpoint": CHECKPOINT,
        "kind": "output",
        "uri": "file:///outputs/x",
        "job": published,
        "name": "instruct-pad-0.5",
        "lambda": 0.5,
        "copy_of": None,
        "files": [],
        "sources": {"base": BASE["uri"]},
    }
    (base,) = told["ancestors"]
    assert (base["level"], base["sighting_count"]) == (1, 1)
    assert [(seen["kind"], seen["uri"], seen["job"]) for seen in base["sightings"]] == [("source", BASE["uri"], None)]
    edge = {
        "role": "base",
        "lambda": 0.5,
        "job": published,
        "source_uri": BASE["uri"],
        "output_uri": "file:///outputs/x",
    }
    assert told["edges"] == [{**edge, "source": base["checkpoint"], "output": CHECKPOINT}]
    assert (told["descendants"], told["truncated"]) == ([], False)


@pytest.mark.parametrize("digest", [SHARD, SHARD.upper(), f"sha256:{SHARD}", CHECKPOINT, CHECKPOINT[7:]])
def test_a_digest_is_of_a_file_or_of_a_checkpoint_with_or_without_its_prefix(deployment, published, digest):
    told = answer(deployment, digest=digest)
    is_file = SHARD in digest.lower()
    assert [match["files"] for match in told["matches"]] == [["model.safetensors"] if is_file else []]
    assert [node["checkpoint"] for node in told["ancestors"]] == [
        answer(deployment, uri=BASE["uri"])["matches"][0]["checkpoint"]
    ]


@pytest.mark.parametrize("params", [{}, {"digest": SHARD, "uri": "s3://a/b"}, {"depth": 3}])
def test_one_of_the_two_is_asked_for_and_the_field_is_named(deployment, params):
    response = ask(deployment, **params)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error == {"pointer": "query/digest", "message": "either this or `uri` is expected, not both and not none"}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"digest": "xyz"}, "query/digest"),
        ({"digest": SHARD[1:]}, "query/digest"),
        ({"uri": ""}, "query/uri"),
        ({"uri": "s3://a/b\x00"}, "query/uri"),
        ({"digest": SHARD, "depth": 33}, "query/depth"),
        ({"digest": SHARD, "depth": -1}, "query/depth"),
        ({"digest": SHARD, "deep": 1}, "query/deep"),
    ],
)
def test_a_malformed_question_is_refused_by_its_field(deployment, params, field):
    response = ask(deployment, **params)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "params", [{"digest": OTHER[::-1]}, {"uri": "s3://a/b"}, {"uri": f"hf://acme/base@{'00' * 20}"}]
)
def test_what_is_not_known_is_a_problem_that_says_what_to_do(deployment, published, params):
    response = ask(deployment, **params)
    assert response.status_code == 404
    problem = response.json()
    assert (problem["code"], problem["blame"]) == ("lineage_not_found", "user")
    assert "crossfade inspect" in problem["detail"]
    assert deployment.client.get(problem["type"]).status_code == 200


def test_depth_is_how_many_edges_are_followed(deployment, published):
    told = answer(deployment, uri="file:///outputs/x", depth=0)
    assert (told["ancestors"], told["edges"], told["truncated"]) == ([], [], True)


def test_who_may_read_may_ask_and_nobody_else(deploy):
    deployment = deploy(api_token="token-of-the-operator")
    headers = {"authorization": "Bearer token-of-the-operator"}
    for scope, status in (("read", 404), ("submit", 403), ("cancel", 403)):
        made = deployment.client.post("/v1/keys", json={"name": scope, "scopes": [scope]}, headers=headers).json()
        key = {"authorization": f"Bearer {made['secret']}"}
        assert deployment.client.get("/v1/lineage", params={"digest": SHARD}, headers=key).status_code == status
    assert ask(deployment, digest=SHARD).status_code == 401
