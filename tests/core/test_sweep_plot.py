"""The plot of a sweep: each dot where its figures say, one scale for both axes, words for those who cannot see it."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.sweep_plot import sweep_svg

SVG = "{http://www.w3.org/2000/svg}"
SWEEP = [(0.0, 0.0, 0.0), (0.1, 0.027, 0.001), (0.5, 0.5, 0.02), (1.0, 1.0, 0.04)]


def drawn(sweep, lam):
    return ElementTree.fromstring(sweep_svg(sweep, lam))


def at(element, x="x", y="y"):
    return float(element.get(x)), float(element.get(y))


def circles(root, kind):
    return [at(circle, "cx", "cy") for circle in root.iter(f"{SVG}circle") if circle.get("class") == kind]


def labels(root, axis):
    """Where each tick of an axis lies, by its text."""
    found = [element for element in root.iter(f"{SVG}text") if element.get("class") == axis]
    return {element.text: float(element.get(axis)) - (4 if axis == "y" else 0) for element in found}


def test_every_output_is_a_dot_where_the_axes_say_and_this_one_is_marked():
    root = drawn(SWEEP, 0.1)
    x, y = labels(root, "x"), labels(root, "y")
    assert list(x) == list(y) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert circles(root, "dot") == [
        (x["0"], y["0"]),
        ((x["0.4"] + x["0.6"]) / 2, (y["0.4"] + y["0.6"]) / 2),
        (x["1"], y["1"]),
    ]
    ((this_x, this_y),) = circles(root, "this")
    assert this_x == pytest.approx((x["0"] + x["0.2"]) / 2, abs=0.02)
    assert this_y == pytest.approx(y["0"] + (y["1"] - y["0"]) * 0.027, abs=0.02)


def test_diagonal_joins_what_was_asked_for_with_itself():
    root = drawn([(-1.0, -0.9, 0.1), (2.0, 1.5, 0.2)], 2.0)
    x, y = labels(root, "x"), labels(root, "y")
    (diagonal,) = [line for line in root.iter(f"{SVG}line") if line.get("class") == "diagonal"]
    assert list(x) == list(y) == ["-1", "0", "1", "2"]
    assert at(diagonal, "x1", "y1") == (x["-1"], y["-1"])
    assert at(diagonal, "x2", "y2") == (x["2"], y["2"])
    assert x["2"] - x["-1"] == pytest.approx(y["-1"] - y["2"])


def test_mark_is_drawn_last_so_that_no_dot_hides_it():
    assert list(drawn(SWEEP, 0.0).iter(f"{SVG}circle"))[-1].get("class") == "this"


def test_output_without_a_realised_strength_is_no_dot_and_is_told_in_words():
    root = drawn([(0.5, None, None), (1.0, 1.0, 0.1)], 0.5)
    assert circles(root, "this") == []
    assert len(circles(root, "dot")) == 1
    assert "λ = 0.5 has none that can be told" in root.find(f"{SVG}desc").text


def test_screen_reader_is_told_title_and_figures():
    root = drawn(SWEEP, 0.1)
    assert root.get("role") == "img"
    assert {root.find(f"{SVG}{name}").get("id") for name in ("title", "desc")} == set(
        root.get("aria-labelledby").split()
    )
    assert "λ = 0.1 realised 0.027" in root.find(f"{SVG}desc").text


def test_nothing_in_it_runs_or_is_fetched():
    root = drawn(SWEEP, 0.1)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        *("svg", "title", "desc", "style", "rect", "line", "text", "circle")
    }
    assert not any("href" in name or name.startswith("on") for element in root.iter() for name in element.attrib)
    assert "url(" not in root.find(f"{SVG}style").text
    assert "@import" not in root.find(f"{SVG}style").text


@given(
    st.lists(
        st.tuples(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none(),
        ),
        min_size=1,
        max_size=64,
    )
)
def test_every_sweep_can_be_drawn_and_all_of_it_lies_inside(sweep):
    root = drawn(sweep, sweep[0][0])
    places = [*circles(root, "dot"), *circles(root, "this")]
    assert all(72 <= x <= 400 and 16 <= y <= 344 for x, y in places)
    assert 2 <= len(labels(root, "x")) <= 12


def test_equal_figures_give_equal_bytes():
    assert sweep_svg(SWEEP, 0.1) == sweep_svg([tuple(point) for point in SWEEP], 0.1)
