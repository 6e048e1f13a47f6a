"""Every error has a stable code of its own, a blame, and a record that can be stored and sent."""

import json
import pickle
import re
from typing import get_args

import pytest

from crossfade_core import errors
from crossfade_core.errors import Blame, CheckpointError, CrossfadeError, IllegalTransition, PlanRefused, Reported


def tree(root):
    return [root, *(below for child in root.__subclasses__() for below in tree(child))]


CLASSES = [error for error in tree(CrossfadeError) if error.__module__ == errors.__name__]


def make(error, message="what, where, what next", **details):
    return error(message, {}) if error is Reported else error(message, **details)


def test_whole_tree_lives_in_one_module():
    in_module = {item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)}
    assert in_module == set(CLASSES)


@pytest.mark.parametrize("error", CLASSES)
def test_every_class_states_a_code_of_its_own(error):
    assert "code" in vars(error)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


def test_no_two_classes_share_a_code():
    codes = [error.code for error in CLASSES]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("error", CLASSES)
def test_every_class_states_blame_and_whether_a_retry_can_help(error):
    assert error.blame in get_args(Blame)
    assert isinstance(error.retryable, bool)


@pytest.mark.parametrize("error", [error for error in CLASSES if error.blame == "user"])
def test_what_is_the_users_move_is_never_retried_by_us(error):
    assert not error.retryable


@pytest.mark.parametrize("error", CLASSES[1:])
def test_every_class_says_when_it_happens_and_what_to_do(error):
    assert "__doc__" in vars(error)
    meaning, remedy, *_ = error.__doc__.split("\n\n")
    assert meaning.strip().endswith(".")
    assert remedy.strip().endswith(".")
    assert not remedy.strip().startswith("Args:")


def test_every_class_is_drawn_in_the_tree_of_the_docstring():
    drawn = re.findall(r"\b[A-Z]\w+", errors.__doc__.partition("Each class states")[0])
    assert {error.__name__ for error in CLASSES} <= set(drawn)


def test_every_class_drawn_exists():
    drawing = [line for line in errors.__doc__.splitlines() if re.match(r" *[├└│]", line)]
    drawn = [name for line in drawing for name in re.findall(r"\b[A-Z]\w+", line)]
    assert sorted(drawn) == sorted(error.__name__ for error in CLASSES if error is not CrossfadeError)


@pytest.mark.parametrize("error", CLASSES)
def test_record_of_every_error_is_json_and_says_it_all(error):
    raised = make(error)
    record = json.loads(json.dumps(raised.as_record()))
    assert record == {
        "code": error.code,
        "message": "what, where, what next",
        "blame": error.blame,
        "retryable": error.retryable,
        "details": {},
    }
    assert str(raised) == raised.message


def test_details_reach_the_record():
    refusals = [{"tensor": "w", "reason": "shape"}]
    record = PlanRefused("no", refusals=refusals, count=1, file="m", none=None).as_record()
    assert json.loads(json.dumps(record))["details"] == {"refusals": refusals, "count": 1, "file": "m", "none": None}


@pytest.mark.parametrize("error", [CheckpointError, IllegalTransition])
def test_error_survives_the_way_from_one_process_to_another(error):
    sent = make(error, file="model.safetensors", tensor="w")
    received = pickle.loads(pickle.dumps(sent))
    assert type(received) is error
    assert received.as_record() == sent.as_record()
