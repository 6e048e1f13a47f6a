"""The client's views are those of the service, field by field."""

import types
from typing import get_args

import pytest
from pydantic import BaseModel

from crossfade_api.lineage_views import LineageGraphView as AnsweredGraph
from crossfade_api.routes import keys as answered_keys
from crossfade_api.views import JobListView
from crossfade_api.views import JobView as AnsweredJob
from crossfade_client import JobPage, JobView, KeyList, LineageGraphView, NewKeyView
from tests.client.fake_service import FakeService

PAIRS = [
    (AnsweredJob, JobView),
    (JobListView, JobPage),
    (answered_keys.NewKeyView, NewKeyView),
    (answered_keys.KeyListView, KeyList),
    (AnsweredGraph, LineageGraphView),
]


def models_in(annotation):
    """Return the models that a field's type is made of, in order."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in get_args(annotation) for model in models_in(part)]


def fields_of(model, place=""):
    """Yield the place of every field of an answer, and of what is in it."""
    for name, field in model.model_fields.items():
        shown = f"{place}/{field.serialization_alias or field.alias or name}"
        yield shown
        for inner in models_in(field.annotation):
            yield from fields_of(inner, shown)


@pytest.mark.parametrize(("answered", "view"), PAIRS, ids=lambda model: model.__name__)
def test_every_field_that_the_service_answers_is_a_typed_field_of_the_client(answered, view):
    expected, known = set(fields_of(answered)), set(fields_of(view))
    assert len(expected) >= 2
    assert expected - known == set()
    assert known - expected == set()


def test_an_answer_is_given_back_as_it_was_got():
    service = FakeService(has_ended=True, warnings=("λ = 0.5 was realised as 0.432",))
    answer = service.job()
    assert JobView.model_validate(answer).as_json() == answer


def test_words_that_only_a_newer_service_knows_do_not_hide_a_job():
    answer = FakeService().job()
    spec = {**answer["spec"], "rounding": "dithered", "lambdas": [7.5], "policies": {"one_sided": "ask", "new": "x"}}
    job = JobView.model_validate({**answer, "phase": "resting", "spec": spec})
    assert (job.phase, job.spec.rounding, job.spec.lambdas) == ("resting", "dithered", (7.5,))
    assert job.as_json()["spec"]["policies"]["new"] == "x"
