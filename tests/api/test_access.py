"""Who may call: the token, and without one the names of this machine."""

import pytest

TOKEN = "correct-horse"


@pytest.fixture
def guarded(deploy):
    return deploy(api_token=TOKEN, api_host="0.0.0.0")


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer \xe9"],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/merges"), ("POST", "/v1/merges"), ("GET", "/v1/nothing")])
def test_without_the_token_nothing_is_told(guarded, method, path, header):
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    answer = guarded.client.request(method, path, headers=headers, content=b"{" if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_token_everything_is_open(guarded, scheme):
    answer = guarded.client.get("/v1/merges", headers={"authorization": f"{scheme} {TOKEN}"})
    assert answer.json() == {"items": [], "next": None}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs", "/problems", "/problems/disk_full"])
def test_probes_and_documentation_need_no_token(guarded, path):
    assert guarded.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/problems/",
        "/problems/a/b",
        "/problems/..%2Fv1%2Fmerges",
        "/problems/%2e%2e/v1/merges",
        "/healthz/",
        "/docs%0A",
    ],
)
def test_paths_beside_the_open_ones_are_closed(guarded, path):
    assert guarded.client.get(path).status_code == 401


def test_with_a_token_any_host_name_will_do(guarded):
    headers = {"authorization": f"Bearer {TOKEN}", "host": "merge.example.com"}
    assert guarded.client.get("/v1/merges", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:8000", "[::1]:8000", "127.0.0.5"]
)
def test_without_a_token_names_of_this_machine_pass(deployment, host):
    assert deployment.client.get("/v1/merges", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[", "[::1", "a@b:c"]
)
def test_without_a_token_a_rebound_name_is_refused(deployment, host):
    for path in ("/v1/merges", "/healthz", "/openapi.json"):
        answer = deployment.client.get(path, headers={"host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
