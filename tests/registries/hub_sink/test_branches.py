"""One branch per output: made of nothing, beside the others, none of which it touches."""

import dataclasses

import pytest

from crossfade_core.errors import OutputExists, OutputMoved
from tests.fakes.http_faults import LoseAnswer, Status
from tests.registries.hub_sink.publishing import FILES, IGNORED, REPO, asked, destination, held
from tests.registries.staging import publish, stage

pytestmark = pytest.mark.filterwarnings(IGNORED)

TO = destination("branch")


def test_branches_of_one_repository_hold_their_own_outputs_only(hub, opened):
    sink = opened(to=TO)
    for lam in ("0.25", "0.5"):
        sink.check_free(f"tuned/{lam}")
        uri = publish(sink, f"tuned/{lam}", {**FILES, "config.json": lam.encode()})
        assert uri == f"hf://{REPO}@{hub.commits(REPO, lam)[0].id}"
    for lam in ("0.25", "0.5"):
        assert held(hub, revision=lam) == {**FILES, "config.json": lam.encode()}
        assert len(hub.commits(REPO, lam)) == 2
    assert held(hub) == {}


def test_name_of_one_part_is_a_branch_of_the_configured_repository(hub, opened):
    publish(opened(to=destination("branch", repo="tuned")), "0.5", FILES)
    assert held(hub, revision="0.5") == FILES


def test_no_branch_is_there_before_the_commit(hub, opened):
    stage(opened(to=TO), "tuned/0.5", FILES)
    assert set(hub.repo(REPO).branches) == {"main"}


def test_branch_that_is_there_is_refused_and_left_alone(hub, opened):
    hub.add_repo(REPO)
    hub.push(REPO, {"notes.txt": b"mine"}, branch="0.5")
    sink = opened(to=TO)
    with pytest.raises(OutputExists, match=r"hf://team/tuned@0\.5 exists and holds 1 files"):
        sink.check_free("tuned/0.5")
    staged = stage(sink, "tuned/0.5", FILES)
    with pytest.raises(OutputExists):
        sink.commit("tuned/0.5", staged)
    assert held(hub, revision="0.5") == {"notes.txt": b"mine"}
    sink.check_free("tuned/0.75")


def test_branch_of_an_output_has_no_history_of_what_else_the_repository_holds(hub, opened):
    first = hub.add_repo(REPO)
    hub.push(REPO, {"old.bin": b"old"})
    publish(opened(to=TO), "tuned/0.5", FILES)
    assert [commit.id for commit in hub.commits(REPO, "0.5")][1:] == [first]
    assert held(hub) == {"old.bin": b"old"}


def test_what_the_first_commit_of_a_repository_held_is_not_in_the_output(hub, opened):
    hub.add_repo(REPO)
    repo = hub.repo(REPO)
    hub.push(REPO, {"old.bin": b"old"})
    squashed = hub.commits(REPO)[0]
    repo.commits[squashed.id] = dataclasses.replace(squashed, parent=None)
    publish(opened(to=TO), "tuned/0.5", FILES)
    assert held(hub, revision="0.5") == FILES
    assert held(hub) == {"old.bin": b"old"}


@pytest.mark.parametrize("fault", [Status(503), LoseAnswer()])
def test_branch_that_could_not_be_committed_to_is_used_by_the_next_run(hub, opened, fault):
    hub.fail(fault, path_contains="/branch/")
    hub.fail(Status(418), path_contains="/commit/")
    sink = opened(to=TO)
    staged = stage(sink, "tuned/0.5", FILES)
    with pytest.raises(Exception, match="418"):
        sink.commit("tuned/0.5", staged)
    assert set(hub.repo(REPO).branches) == {"main", "0.5"}
    again = opened(to=TO)
    again.check_free("tuned/0.5")
    publish(again, "tuned/0.5", FILES)
    assert held(hub, revision="0.5") == FILES
    assert asked(hub, method="DELETE") == 0


def test_branch_that_somebody_else_makes_meanwhile_is_left_alone(hub, opened, monkeypatch):
    sink = opened(to=TO)
    staged = stage(sink, "tuned/0.5", FILES)
    create = sink._api.create_branch

    def others_first(*args, **options):
        hub.push(REPO, {"theirs": b"theirs"}, branch="0.5")
        return create(*args, **options)

    monkeypatch.setattr(sink._api, "create_branch", others_first)
    with pytest.raises(OutputMoved):
        sink.commit("tuned/0.5", staged)
    assert held(hub, revision="0.5") == {"theirs": b"theirs"}
