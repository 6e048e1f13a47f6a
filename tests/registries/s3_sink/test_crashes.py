"""A process that dies at any request of a commit leaves nothing that another could not finish, or remove."""

import pytest

from crossfade_core.errors import SinkError
from tests.fakes.http_faults import Disconnect, LoseAnswer
from tests.registries.s3_sink.publishing import FILES, OLD, OTHER, Rig, Store, below
from tests.registries.staging import facts, publish, stage

STAGED = facts(FILES)
DEATHS = ["request lost", "answer lost"]
MOST_REQUESTS = 60


def commit_dies(store: Store, death: str, at: int, *, overwrite: bool) -> bool:
    """Stage an output, commit it, and let the process die at one of the commit's requests; False if it had fewer."""
    if overwrite:
        publish(store.sink(OTHER), "tuned", OLD)
        store.sink(OTHER).discard()
    stage(store.sink(), "tuned", FILES)
    store.proxy.clear()
    if death == "answer lost":
        store.proxy.fail(LoseAnswer(), skip=at)
    store.proxy.fail(Disconnect(), skip=at, times=None)
    try:
        store.sink(overwrite=overwrite).commit("tuned", STAGED)
    except SinkError:
        return True
    finally:
        store.proxy.clear()
    return False


def each_death(rig: Rig, death: str, *, overwrite: bool):
    """Yield a store for every request that a commit can die at."""
    for at in range(MOST_REQUESTS):
        store = rig.new_store()
        if not commit_dies(store, death, at, overwrite=overwrite):
            assert at > 10
            return
        yield store
    raise AssertionError(f"a commit makes more than {MOST_REQUESTS} requests")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("death", DEATHS)
def test_second_commit_publishes_all_of_it_wherever_the_first_died(rig, death, overwrite):
    for store in each_death(rig, death, overwrite=overwrite):
        second = store.sink(overwrite=overwrite)
        stage(second, "tuned", {file: FILES[file] for file in ("config.json", "lineage.json")})
        second.commit("tuned", STAGED)
        second.discard()
        assert store.content() == below("tuned", FILES)
        assert store.uploads() == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("death", DEATHS)
def test_discard_leaves_nothing_of_a_commit_that_died_but_a_whole_output(rig, death, overwrite):
    for store in each_death(rig, death, overwrite=overwrite):
        store.sink(overwrite=overwrite).discard()
        left = store.content()
        assert store.uploads() == []
        if left.get("tuned/lineage.json") == FILES["lineage.json"]:
            assert left == below("tuned", FILES)
        elif overwrite:
            assert set(left.items()) <= set(below("tuned", OLD).items())
        else:
            assert left == {}


def test_another_job_may_have_the_name_once_a_commit_that_died_is_discarded(moto):
    for store in each_death(moto, "answer lost", overwrite=False):
        store.sink().discard()
        if store.content():
            continue
        other = store.sink(OTHER)
        publish(other, "tuned", OLD)
        other.discard()
        assert store.content() == below("tuned", OLD)


@pytest.mark.parametrize("death", DEATHS)
def test_discard_that_dies_is_done_by_another(moto, death):
    for at in range(MOST_REQUESTS):
        store = moto.new_store()
        assert commit_dies(store, "answer lost", 14, overwrite=False)
        store.proxy.fail({"request lost": Disconnect(), "answer lost": LoseAnswer()}[death], skip=at)
        try:
            store.sink().discard()
        except SinkError:
            store.sink().discard()
            assert store.content() == {}
            assert store.uploads() == []
        else:
            assert at > 10
            return
