"""λ lists: what `--lambda` takes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_cli.sweep import parse_lambdas


@pytest.mark.parametrize(
    ("texts", "lambdas"),
    [
        (["0:1:0.1"], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (["0,0.25,1"], [0.0, 0.25, 1.0]),
        (["0.7"], [0.7]),
        (["0.1", "0.3"], [0.1, 0.3]),
        (["0:0.2:0.1, 1", "0.5"], [0.0, 0.1, 0.2, 1.0, 0.5]),
        (["1:0:-0.5"], [1.0, 0.5, 0.0]),
        (["-0.5:0.5:0.5"], [-0.5, 0.0, 0.5]),
        (["0:1:0.3"], [0.0, 0.3, 0.6, 0.9]),
        (["0.5:0.5:0.1"], [0.5]),
        (["1e-3"], [0.001]),
    ],
)
def test_lists_and_ranges_are_read_in_their_order(texts: list[str], lambdas: list[float]):
    assert parse_lambdas(texts) == lambdas


@given(st.decimals(-10, 10, places=3), st.integers(0, 60), st.decimals("0.001", 2, places=3))
def test_a_range_holds_both_ends_and_exactly_the_decimals_between(start: Decimal, steps: int, step: Decimal):
    stop = start + steps * step
    assert parse_lambdas([f"{start}:{stop}:{step}"]) == [float(start + i * step) for i in range(steps + 1)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no number"),
        ("0,,1", "no number"),
        ("half", "'half' is no number"),
        ("0:1:x", "'x' in '0:1:x' is no number"),
        ("nan", "not finite"),
        ("inf", "not finite"),
        ("1e999", "not finite"),
        ("0:1", "START:STOP:STEP"),
        ("0:1:0.1:2", "START:STOP:STEP"),
        ("0:1:0", "does not lead"),
        ("0:1:-0.1", "does not lead"),
        ("0:1:1e-9", "larger step"),
        ("0:1:1e-300", "too small"),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(text: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        parse_lambdas([text])
