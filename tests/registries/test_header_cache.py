"""What a plan read is not read again, as long as the registry says that it is the same; and memory has its limit."""

import json
import random
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossfade_core.errors import CheckpointError, PlanRefused, ShortRead, SourceUnavailable, TokensConflict
from crossfade_core.plan import MergePlan
from crossfade_core.spec import MergeSpec
from crossfade_registries.header_cache import HeaderCache
from crossfade_registries.layout import plan_spec, read_layout
from crossfade_registries.opened import Opened
from tests.fakes.checkpoints import encode_file, random_pair
from tests.fakes.source import MemorySource
from tests.system.serving import wait_for

ROOM = 1 << 30
BASE, INSTRUCT = "local://models/base", "local://models/instruct"
SPEC = MergeSpec(base=BASE, instruct=INSTRUCT, lambdas=(0.5,), destination="outputs")


class Models:
    """A pair in memory, and one cache for all plans of it."""

    def __init__(self, folder: Path) -> None:
        random_pair(folder)
        self._content = {
            uri: {path.name: path.read_bytes() for path in (folder / uri.rsplit("/")[-1]).iterdir()}
            for uri in (BASE, INSTRUCT)
        }
        self.cache = HeaderCache(ROOM)
        self.heal()

    def heal(self) -> None:
        """Begin with new sources of the same content and the same versions."""
        self.sources = {uri: MemorySource(files, uri) for uri, files in self._content.items()}

    def plan(self) -> MergePlan:
        return plan_spec(SPEC, self.sources.__getitem__, self.cache).plan

    def reads(self) -> set[tuple[str, str]]:
        """Return what was read since this was last asked."""
        found = {(uri, read.file) for uri, source in self.sources.items() for read in source.reads}
        for source in self.sources.values():
            source.reads.clear()
        return found


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def test_second_plan_of_the_same_files_opens_none_of_them(models):
    first = models.plan()
    assert {uri for uri, _ in models.reads()} == {BASE, INSTRUCT}
    assert models.plan() == first
    assert models.reads() == set()


def test_changed_file_is_read_again_and_no_other(models):
    models.plan()
    models.reads()
    models.sources[BASE].put("tokenizer.json", b'{"model": {"type": "WordLevel", "vocab": {"word": 0}}}')
    with pytest.raises(TokensConflict, match="word"):
        models.plan()
    assert models.reads() == {(BASE, "tokenizer.json")}


def test_changed_shard_is_seen(models):
    models.plan()
    models.sources[BASE].put("model.safetensors", encode_file({"odd": ("F32", (2,), bytes(8))}))
    with pytest.raises(PlanRefused, match="only in the instruct"):
        models.plan()


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_failed_read_is_not_kept(models, file):
    models.sources[BASE].fail_at(file, 2)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=file):
            models.plan()
    models.heal()
    assert models.plan() == plan_spec(SPEC, models.sources.__getitem__).plan


def test_refused_checkpoint_is_read_again(models):
    for content in (b"nonsense", b"{}"):
        models.sources[BASE].put("model.safetensors", content)
        for _ in range(2):
            with pytest.raises(CheckpointError, match=f"^{BASE}: "):
                models.plan()
            assert (BASE, "model.safetensors") in models.reads()


def test_without_a_cache_every_plan_reads(models):
    for _ in range(2):
        plan_spec(SPEC, models.sources.__getitem__)
        assert models.reads() != set()


def test_folder_that_turns_from_adapter_to_model_is_not_taken_for_the_adapter():
    files = {
        name: encode_file({name: ("F32", (2,), bytes(8))}) for name in ("adapter_model.safetensors", "b.safetensors")
    }
    source = MemorySource(files)
    opened = Opened(source, source.files(), HeaderCache(ROOM))
    adapters = {name: info for name, info in source.files().items() if name.startswith("adapter")}
    one = opened.layout(list(adapters), lambda: read_layout(source, adapters))
    with pytest.raises(CheckpointError, match="2 safetensors files and no"):
        opened.layout(opened.weight_files, lambda: read_layout(source, source.files()))
    assert list(one.tensors) == ["adapter_model.safetensors"]


def test_of_many_who_ask_at_once_one_reads():
    begun, go_on, reads = threading.Event(), threading.Event(), []

    def read() -> str:
        reads.append(1)
        begun.set()
        assert go_on.wait(30)
        return "value"

    cache = HeaderCache(ROOM)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(cache.recall, "key", read, len) for _ in range(16)]
        assert begun.wait(30)
        go_on.set()
        assert {each.result() for each in asked} == {"value"}
    assert len(reads) == 1


class CountedKey:
    """A key that counts how often it is looked for: twice by each who asks, once more by who reads."""

    def __init__(self) -> None:
        self.looks = 0

    def __hash__(self) -> int:
        self.looks += 1
        return 1


def test_all_who_wait_hear_of_a_failure_and_whoever_comes_next_tries_again():
    cache, key, failures = HeaderCache(ROOM), CountedKey(), []

    def fail() -> str:
        wait_for(lambda: key.looks == 2 * 8 + 1, 30)
        failures.append(ShortRead("cut"))
        raise failures[-1]

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.recall, key, fail, len) for _ in range(8)]
        assert {each.exception() for each in asked} == set(failures)
    assert len(failures) == 1
    assert cache.recall(key, lambda: "value", len) == "value"


def test_what_was_not_asked_for_longest_goes_first():
    cache, reads = HeaderCache(10_000), []

    def recall(key: str) -> None:
        cache.recall(key, lambda: reads.append(key), lambda _: 2_000)

    for key in ("a", "b", "c", "a", "d", "a", "b"):
        recall(key)
    assert reads == ["a", "b", "c", "d", "b"]
    assert cache.kept_bytes <= 10_000


def test_value_larger_than_the_cache_is_given_and_not_kept():
    cache = HeaderCache(10_000)
    cache.recall("small", lambda: "s", len)
    for _ in range(2):
        assert len(cache.recall("large", lambda: "x" * 20_000, len)) == 20_000
    assert cache.kept_bytes < 2_000
    assert cache.recall("small", lambda: "read again", len) == "s"


def layout_files(count: int, chance: random.Random) -> dict[str, bytes]:
    tensors = {
        f"model.layers.{number}.mlp.experts.{chance.randrange(256)}.down_proj.weight": ("F8_E4M3", (1, 1, 1), b"\0")
        for number in range(count)
    }
    names = list(tensors)
    halves = {"model-1.safetensors": names[: count // 2], "model-2.safetensors": names[count // 2 :]}
    index = {"weight_map": {name: file for file, own in halves.items() for name in own}}
    shards = {file: encode_file({name: tensors[name] for name in own}) for file, own in halves.items()}
    return {**shards, "model.safetensors.index.json": json.dumps(index).encode()}


def vocabulary_files(count: int, chance: random.Random) -> dict[str, bytes]:
    letters = "abcdefghijklmnopqrstuvwxyzäöüλ漢字😀"
    words = {"".join(chance.choices(letters, k=8)) + str(number): number for number in range(count)}
    return {"tokenizer.json": json.dumps({"model": {"type": "BPE", "vocab": words, "merges": []}}).encode()}


@pytest.mark.parametrize("make", [layout_files, vocabulary_files])
def test_memory_stays_below_the_limit_whatever_is_planned(make):
    limit_bytes = 8 << 20
    cache, chance = HeaderCache(limit_bytes), random.Random(1)
    tracemalloc.start()
    try:
        for number in range(6):
            source = MemorySource(make(10_000, chance), f"local://models/{number}")
            opened = Opened(source, source.files(), cache)
            if make is layout_files:
                opened.layout(opened.weight_files, lambda read=source: read_layout(read, read.files()))
            else:
                opened.vocabulary(["tokenizer.json"], ROOM)
            del source, opened
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limit_bytes / 2 < cache.kept_bytes <= limit_bytes
    assert cache.kept_bytes * 0.6 < held_bytes < limit_bytes, (cache.kept_bytes, held_bytes)
