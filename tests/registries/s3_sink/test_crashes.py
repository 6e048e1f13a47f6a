"""A process that dies at any request of a commit leaves nothing that another could not finish, or remove."""

from collections.abc import Iterator

import pytest

from crossfade_core.errors import SinkError
from tests.fakes.http_faults import Disconnect, LoseAnswer
from tests.registries.s3_sink.publishing import FILES as ALL
from tests.registries.s3_sink.publishing import OLD as ALL_OLD
from tests.registries.s3_sink.publishing import OTHER, Rig, Store, below
from tests.registries.staging import facts, publish, stage

pytestmark = pytest.mark.slow

FILES = {file: content for file, content in ALL.items() if file not in ("tokenizer.json", "config.json")}
OLD = {file: content for file, content in ALL_OLD.items() if file != "config.json"}
STAGED = facts(FILES)
MOST_REQUESTS = 60


def commit_dies(store: Store, death: str, at: int, *, overwrite: bool) -> bool:
    """Stage an output, commit it, and let the process die at one of the commit's requests; False if it had fewer."""
    if overwrite:
        publish(store.straight_sink(OTHER), "tuned", OLD)
        store.straight_sink(OTHER).discard()
    stage(store.straight_sink(), "tuned", FILES)
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


def each_death(rig: Rig, death: str, *, overwrite: bool, step: int = 1) -> Iterator[Store]:
    """Yield a store for every request that a commit can die at, or every so many, to spare time."""
    for at in range(0, MOST_REQUESTS, step):
        store = rig.new_store()
        if not commit_dies(store, death, at, overwrite=overwrite):
            assert at > 15
            return
        yield store
    raise AssertionError(f"a commit makes more than {MOST_REQUESTS} requests")


def check_second_commit(store: Store, *, overwrite: bool) -> None:
    second = store.straight_sink(overwrite=overwrite)
    stage(second, "tuned", {file: FILES[file] for file in ("model.safetensors.index.json", "lineage.json")})
    second.commit("tuned", STAGED)
    second.discard()
    assert store.content() == below("tuned", FILES)
    assert store.uploads() == []


@pytest.mark.parametrize(("death", "overwrite", "step"), [("request lost", False, 1), ("answer lost", True, 2)])
def test_second_commit_publishes_all_of_it_wherever_the_first_died(moto, death, overwrite, step):
    for store in each_death(moto, death, overwrite=overwrite, step=step):
        check_second_commit(store, overwrite=overwrite)


def test_second_commit_publishes_all_of_it_on_a_store_with_disks(swift):
    for store in each_death(swift, "answer lost", overwrite=True, step=9):
        check_second_commit(store, overwrite=True)


def test_name_is_free_for_another_job_once_a_commit_that_died_is_discarded(moto):
    for store in each_death(moto, "answer lost", overwrite=False, step=3):
        store.straight_sink().discard()
        assert store.uploads() == []
        if store.content():
            assert store.content() == below("tuned", FILES)
        else:
            publish(store.straight_sink(OTHER), "tuned", OLD)
            assert store.visible() == below("tuned", OLD)


def test_discard_leaves_of_an_overwrite_that_died_only_what_was_there_before(moto):
    for store in each_death(moto, "request lost", overwrite=True, step=3):
        store.straight_sink(overwrite=True).discard()
        assert store.uploads() == []
        left = store.content()
        assert left == below("tuned", FILES) or left.items() <= below("tuned", OLD).items()


def test_discard_that_dies_is_done_by_another(moto):
    for at in range(0, MOST_REQUESTS, 3):
        store = moto.new_store()
        assert commit_dies(store, "answer lost", 16, overwrite=False)
        assert store.visible()
        store.proxy.fail(LoseAnswer(), skip=at)
        store.proxy.fail(Disconnect(), skip=at, times=None)
        try:
            store.sink().discard()
        except SinkError:
            store.straight_sink().discard()
            assert store.content() == {}
            assert store.uploads() == []
        else:
            assert at > 15
            return
