"""The API's bench runs for some seconds at a small rate: every request is right, and the table adds up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RATE, SECONDS = 10, 6
KINDS = (
    "events of a job",
    "list 20 jobs",
    "poll a job with its ETag",
    "show a job",
    "submit",
    "submit, idempotency key again",
    "submit, same spec again",
)
BARE = ("bare FastAPI, on the loop", "bare FastAPI, on a thread")


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def printed(request: pytest.FixtureRequest) -> str:
    command = [sys.executable, "-m", "tests.bench.api_bench", "--database", request.param, "--jobs", "100"]
    command += ["--rate", str(RATE), "--seconds", str(SECONDS)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stdout


def rows(printed: str, name: str) -> list[list[str]]:
    """The cells of every row of that name."""
    lines = [line.strip("|").split("|") for line in printed.splitlines() if line.startswith(f"| {name} |")]
    return [[cell.strip() for cell in line] for line in lines]


def test_every_request_is_answered_as_it_should_be(printed: str) -> None:
    assert "errors: 0 (goal 0, met)" in printed
    assert [rows(printed, name)[0][2] for name in (*KINDS, "the API, all", *BARE)] == ["0"] * (len(KINDS) + 3)


def test_as_many_requests_are_sent_as_the_schedule_has(printed: str) -> None:
    of_kinds = sum(int(rows(printed, kind)[0][1]) for kind in KINDS)
    assert of_kinds == int(rows(printed, "the API, all")[0][1]) == RATE * SECONDS


def test_times_rise_from_the_median_to_the_longest(printed: str) -> None:
    for name in (*KINDS, *BARE):
        spread = [float(cell.removesuffix(" ms")) for cell in rows(printed, name)[0][3:]]
        assert spread[0] > 0
        assert spread == sorted(spread)


def test_the_ratio_is_that_of_the_two_rates(printed: str) -> None:
    (ours,) = rows(printed, "the API, all")[1:]
    for name in BARE:
        (theirs,) = rows(printed, name)[1:]
        ratio = int(ours[3].removesuffix("/s")) / int(theirs[3].removesuffix("/s"))
        assert float(theirs[4]) == pytest.approx(ratio, rel=0.1)
    assert re.search(r"of a core: the API \d+%, the generator \d+%", printed)
