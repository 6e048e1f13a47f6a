"""What may pass is tried again, with growing waits and within limits; what may not is raised at once, as it is."""

import itertools
import time

import pytest
from stamina.instrumentation import set_on_retry_hooks

from crossfade_core.errors import CrossfadeError, SourceDenied, SourceRateLimited, SourceUnavailable
from crossfade_registries.retrying import Patience, retried

QUICK = Patience(attempts=4, first_wait_seconds=0.01, longest_wait_seconds=0.05, total_seconds=20)


@pytest.fixture
def planned():
    """The waits between two tries as they were meant, in seconds; a busy machine may make them longer."""
    waits = []
    set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    yield waits
    set_on_retry_hooks(None)


class Failing:
    """Raises these errors, one a call, then returns its count of calls; remembers when it was called."""

    def __init__(self, *errors):
        self._errors = iter(errors)
        self.called_at = []

    def __call__(self):
        self.called_at.append(time.monotonic())
        if (error := next(self._errors, None)) is not None:
            raise error
        return len(self.called_at)

    @property
    def waits(self):
        return [after - before for before, after in itertools.pairwise(self.called_at)]


def unavailable(count, **details):
    return [SourceUnavailable(f"away {number}", **details) for number in range(count)]


def test_success_after_retryable_errors_is_what_is_returned():
    assert retried(Failing(*unavailable(3)), QUICK) == 4


def test_last_error_is_raised_as_it_is_when_attempts_are_used_up():
    errors = unavailable(5)
    call = Failing(*errors)
    with pytest.raises(SourceUnavailable) as caught:
        retried(call, QUICK)
    assert caught.value is errors[3]
    assert len(call.called_at) == 4


@pytest.mark.parametrize("error", [SourceDenied("no"), ValueError("bug"), OSError("raw"), KeyboardInterrupt()])
def test_what_trying_again_cannot_help_is_raised_at_once(error):
    call = Failing(error)
    with pytest.raises(type(error)) as caught:
        retried(call, QUICK)
    assert caught.value is error
    assert len(call.called_at) == 1


def test_waits_grow_up_to_the_longest_and_differ_between_callers(planned):
    patience = Patience(attempts=6, first_wait_seconds=0.02, longest_wait_seconds=0.08, total_seconds=20)
    calls = [Failing(*unavailable(5)) for _ in range(3)]
    for call in calls:
        retried(call, patience)
        floors = [0.02, 0.04, 0.08, 0.08, 0.08]
        assert all(wait >= floor for wait, floor in zip(call.waits, floors, strict=True))
    assert max(planned) == pytest.approx(0.08)
    assert len({*planned[::5]}) > 1


def test_registry_that_names_a_time_is_given_it(planned):
    call = Failing(SourceRateLimited("slow down", retry_after_seconds=0.3))
    assert retried(call, QUICK) == 2
    assert call.waits[0] >= 0.3
    assert 0.299 < planned[0] < 0.376  # a quarter more at most


def test_time_longer_than_patience_is_not_waited_for():
    began = time.monotonic()
    call = Failing(SourceRateLimited("slow down", retry_after_seconds=3600))
    with pytest.raises(SourceRateLimited):
        retried(call, QUICK)
    assert len(call.called_at) == 1
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("asked", [0, -5, None, "soon"])
def test_time_that_is_none_leaves_the_usual_waits_or_none(planned, asked):
    error: CrossfadeError = SourceRateLimited("slow down", retry_after_seconds=asked)
    call = Failing(error)
    assert retried(call, QUICK) == 2
    assert planned[0] <= QUICK.longest_wait_seconds


def test_no_wait_ends_later_than_patience_in_all():
    call = Failing(*unavailable(1000))
    began = time.monotonic()
    with pytest.raises(SourceUnavailable):
        retried(call, Patience(attempts=1000, first_wait_seconds=0.05, longest_wait_seconds=0.05, total_seconds=2))
    assert 1 < len(call.called_at) < 50
    assert time.monotonic() - began < 30
