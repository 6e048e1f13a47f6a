"""Patterns match names as shells match file names, without brackets, and take no longer than both are long."""

import math
import re
import time
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.name_patterns import NamePatterns

ALPHABET = "ab.*?["


@given(st.lists(st.text(ALPHABET, max_size=8), max_size=6), st.text("ab.[", max_size=10))
def test_patterns_match_whole_names_as_fnmatch_does(patterns, name):
    oracle = [re.compile(translate(pattern.replace("[", "[[]"))) for pattern in patterns]
    expected = [number for number, matcher in enumerate(oracle) if matcher.match(name)]
    assert NamePatterns(patterns).matching(name) == expected


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_name_matches_itself_and_any_run_of_stars(names):
    for name in names:
        assert NamePatterns([name.replace("*", "?"), "*", "**", f"*{'?' * len(name)}*"]).matching(name) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("*embed_tokens*", "model.embed_tokens.weight", True),
        ("lm_head*", "model.lm_head.weight", False),
        ("model.layers.?.*", "model.layers.10.mlp", False),
        ("model.layers.??.*", "model.layers.10.mlp", True),
        ("*.mlp.*", "a.mlp.b.mlp.c", True),
        ("*.mlp", "a.mlp.b.mlp", True),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("?", "", False),
        ("w", "W", False),
        ("a.b", "aXb", False),
        ("[a]", "a", False),
        ("[a]", "[a]", True),
        ("\\*", "\\anything", True),
        ("模*重み", "模型.重み", True),
        ("?", "🜁", True),
        ("a\nb", "a\nb", True),
    ],
)
def test_characters_stand_for_themselves_but_for_star_and_question_mark(pattern, name, is_match):
    assert NamePatterns([pattern]).matching(name) == [0][: int(is_match)]


def test_no_patterns_match_nothing():
    assert NamePatterns([]).matching("w") == []


def seconds_to_match(patterns, name):
    fastest = math.inf
    for _ in range(3):
        begin = time.process_time()
        matcher = NamePatterns(patterns)
        for _ in range(50):
            matcher.matching(name)
        fastest = min(fastest, time.process_time() - begin)
    return fastest


@pytest.mark.parametrize("pattern", ["*a*a*a*a*b", "*" + "a" * 500 + "b", "*a?" * 160 + "b", "*?" * 255, "a*" * 250])
def test_hostile_pattern_costs_no_more_than_a_harmless_one_of_its_length(pattern):
    harmless = "model." + "x" * (len(pattern) - 7) + "*"
    hostile, usual = (seconds_to_match([each] * 64, "a" * 1024) for each in (pattern, harmless))
    assert hostile < 10 * usual
