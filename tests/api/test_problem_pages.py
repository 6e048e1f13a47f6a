"""The `type` of every problem leads to its explanation, for programs and for browsers, without a key."""

import pytest

from crossfade_api.problem_pages import COMMAND_LINE
from crossfade_api.problems import HTTP_PROBLEMS
from tests.api.test_problems import every_class

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_every_code_the_api_can_show_is_listed_once(deployment):
    codes = [item["code"] for item in deployment.client.get("/problems").json()["items"]]
    assert len(set(codes)) == len(codes)
    known = {kind.code for kind in every_class() if kind not in COMMAND_LINE}
    assert set(codes) == known | {problem.code for problem in HTTP_PROBLEMS.values()}


def test_what_is_said_of_a_code_is_what_its_problem_says(deployment):
    problem = deployment.client.get("/v1/merges/nobody").json()
    answer = deployment.client.get(problem["type"])
    page = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert {name: page[name] for name in ("code", "title", "status", "blame", "retryable")} == {
        name: problem[name] for name in ("code", "title", "status", "blame", "retryable")
    }
    assert page["meaning"]
    assert page["remedy"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/merges/nobody", "/problems/nothing"])
def test_every_type_resolves(deployment, path):
    problem = deployment.client.get(path).json()
    assert deployment.client.get(problem["type"]).json()["code"] == problem["code"]


def test_a_browser_gets_a_page(deployment):
    answer = deployment.client.get("/problems/plan_refused", headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<code>plan_refused</code>" in answer.text
    assert "&quot;refusals&quot;" in answer.text
    every = deployment.client.get("/problems", headers=BROWSER).text
    assert every.count("<h2 ") == len(deployment.client.get("/problems").json()["items"])


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, application/json"])
@pytest.mark.parametrize("path", ["/problems", "/problems/disk_full"])
def test_a_program_gets_json_and_caches_are_told_that_it_depends(deployment, path, accept):
    answer = deployment.client.get(path, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"
    assert "accept" in answer.headers["vary"].lower()
    assert "accept" in deployment.client.get(path, headers=BROWSER).headers["vary"].lower()


@pytest.mark.parametrize("code", ["nothing", "reported", "<script>", "disk_full%0A"])
def test_a_code_that_no_problem_has_is_not_found(deployment, code):
    answer = deployment.client.get(f"/problems/{code}", headers=BROWSER)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
