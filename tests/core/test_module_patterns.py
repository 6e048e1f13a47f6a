"""Patterns of strangers match as PEFT's do, in time that no pattern decides."""

import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.linear_regex import LinearRegex
from crossfade_core.module_patterns import ModulePatterns

MODULES = [
    "lm_head",
    "q_proj",
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.k_proj",
    "model.layers.10.self_attn.q_proj",
    "model.layers.11.mlp.experts.7.down_proj",
    "model.layers.0.self_attn.q_proj_2",
    "other.layers.0.self_attn.q_proj",
]
PATTERNS = [
    "q_proj",
    "self_attn.q_proj",
    r"self_attn\.q_proj",
    "^lm_head",
    "^q_proj$",
    "^model.layers.0.self_attn.q_proj",
    r"model.layers.1.self_attn.k_proj",
    r".*\.q_proj",
    r"layers\.\d+\.self_attn\.(q|k)_proj",
    r"layers\.(0|1|10)\..*",
    r"layers\.[0-5]\.self_attn\.[qk]_proj",
    r"layers\.1{1,2}\..*proj",
    r"^model\.(?:layers|blocks)\.\d\..+",
    r".*experts.\d+.(up|down)_proj",
    r"[^.]+",
    "",
    ".",
    "a|lm_head",
    "x)|(q_proj",
    "proj",
]


def peft_finds(values, module):
    """The rule of peft's get_pattern_key, by Python's own matcher."""
    return next((value for key, value in values.items() if re.match(rf"(.*\.)?({key})$", module)), None)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("module", MODULES)
def test_one_pattern_matches_what_it_matches_in_peft(pattern, module):
    assert ModulePatterns({pattern: 1}).find(module) == peft_finds({pattern: 1}, module)


@given(st.permutations(PATTERNS), st.integers(0, len(PATTERNS)), st.sampled_from(MODULES))
def test_first_pattern_that_matches_decides(patterns, count, module):
    values = {pattern: number for number, pattern in enumerate(patterns[:count])}
    assert ModulePatterns(values).find(module) == peft_finds(values, module)


ATOMS = st.sampled_from(["a", "b", r"\.", ".", r"\d", "[ab]", "[^a]", "[a-c.]", r"\w", "0"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{1,}", "{0}", "*?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda part: f"^{part}"),
        inner.map(lambda part: f"{part}$"),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.lists(st.text("ab.0c", max_size=6), max_size=6))
def test_expressions_match_whole_texts_as_pythons_own(expression, texts):
    ours, theirs = LinearRegex(expression), re.compile(expression)
    for text in texts:
        assert ours.matches(text) == (theirs.fullmatch(text) is not None)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("(", "leaves a group open"),
        (")", "closes a group"),
        ("*a", "repeats nothing"),
        ("(?=a)", "repeats nothing"),
        ("(?i)a", "repeats nothing"),
        ("(?P<n>a)", "repeats nothing"),
        ("a**", "repeats a repetition"),
        ("^*", "repeats an anchor"),
        ("a{3,1}", "fewer times"),
        (r"(a)\1", "cannot be read at character 4"),
        ("[z-a]", "a class that cannot be read"),
        ("[a--b]", "a class with"),
        ("[[a]]", "cannot be read"),
        ("[", "cannot be read"),
        ("a{1", "cannot be read"),
        ("\\", "cannot be read"),
        (r"\bq", "cannot be read"),
        ("(" * 40 + "a" + ")" * 40, "nested deeper"),
        ("a{999}{999}", "repeats a repetition"),
        ("(" * 20 + "a" + "{999})" * 20, "too large|takes too long"),
        ("(" * 20 + "()" + "{999})" * 20, "takes too long"),
    ],
)
def test_what_is_not_understood_is_refused_in_words(expression, problem):
    start = time.thread_time()
    with pytest.raises(ValueError, match=problem):
        LinearRegex(expression)
    assert time.thread_time() - start < 5


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|a)*b", "(a*)*b", "(.*a){20}b", "((a|b)*a(a|b){9})*c", "(x+x+)+y"])
def test_no_expression_holds_up_a_service(expression):
    start = time.thread_time()
    with contextlib.suppress(ValueError):  # refused as too dear, or matched without backtracking
        assert ModulePatterns({expression: 1}).find("a" * 1000 + "!") is None
    assert time.thread_time() - start < 5


def test_a_pattern_of_its_own_for_each_of_many_modules_is_quick():
    names = [f"model.layers.{layer}.mlp.experts.{expert}.w1" for layer in range(60) for expert in range(160)]
    patterns = ModulePatterns({name: number for number, name in enumerate(names)})
    start = time.thread_time()
    assert [patterns.find(name) for name in names] == list(range(len(names)))
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"ok": 1, "(": 2}, r"pattern '\(' leaves a group open"),
        ({"a" * 2000 + "*": 1}, "more than 1024 characters"),
        ({f"a{number}.*": number for number in range(33)}, "more than 32 patterns"),
    ],
)
def test_patterns_that_cannot_be_matched_are_refused_by_themselves(values, problem):
    with pytest.raises(ValueError, match=problem):
        ModulePatterns(values)


@given(st.text(max_size=30), st.sampled_from(MODULES))
def test_no_text_raises_anything_but_a_refusal(pattern, module):
    try:
        found = ModulePatterns({pattern: 1}).find(module)
    except ValueError:
        return
    assert found == peft_finds({pattern: 1}, module)
