"""What a pass announces to its sources is what it reads, in that order, so that remote ones can fetch ahead."""

import hashlib

import numpy as np
import pytest

from crossfade_core.errors import SourceCorrupted
from tests.engine.sweep import adapter_source, memory_source, normal_pair, run_sweep, sha256
from tests.fakes.source import MemorySource

LAMBDAS = [0.0, 0.4, 1.0]
NAMES = [f"t{number}" for number in range(6)]
LAYOUTS = {"one file": None, "runs": [NAMES[:2], NAMES[2:5], NAMES[5:]], "dealt": [NAMES[0::2], NAMES[1::2]]}
REVERSED = [NAMES[::-1]]


@pytest.fixture
def tensors(rng):
    pairs = {name: normal_pair(rng, 3001 + 500 * number, "BF16") for number, name in enumerate(NAMES)}
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


def joined(spans) -> list[list]:
    """Join spans that follow each other in one file."""
    found = []
    for file, start, end in spans:
        if found and found[-1][0] == file and found[-1][2] == start:
            found[-1][2] = end
        else:
            found.append([file, start, end])
    return found


def read_tensors(source: MemorySource) -> list[tuple[str, int, int]]:
    """Return what was read beyond the headers, which lie at the front of every file."""
    return [(read.file, read.offset, read.offset + read.size_bytes) for read in source.reads if read.offset > 0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threads", [1, 4])
def test_every_read_of_a_tensor_was_expected_in_this_order(tensors, layout, threads):
    base, instruct = (memory_source(side, LAYOUTS[layout]) for side in tensors)
    run_sweep(base, instruct, LAMBDAS, threads=threads)
    for source in (base, instruct):
        assert joined(read_tensors(source)) == joined(source.expected)


def test_factors_of_an_adapter_are_expected_too(rng):
    base = memory_source({"l.weight": ("F32", (48, 32), rng.normal(size=(48, 32)).astype(np.float32).tobytes())})
    factors = {"lora_A": (4, 32), "lora_B": (48, 4)}
    adapter = adapter_source(
        {
            f"l.{name}.weight": ("F32", shape, rng.normal(size=shape).astype(np.float32).tobytes())
            for name, shape in factors.items()
        },
        r=4,
        lora_alpha=8,
        target_modules=["l"],
    )
    run_sweep(base, adapter, LAMBDAS)
    assert len(adapter.expected) == 2
    assert set(adapter.expected) <= set(read_tensors(adapter))


def stating(source: MemorySource, **false: str) -> MemorySource:
    """Let a source state the digest of every file, some falsely."""
    for name, info in source.files().items():
        content = bytearray(info.size_bytes)
        source.read_into(name, 0, memoryview(content))
        source.state_digest(name, false.get(name.split(".")[0], hashlib.sha256(content).hexdigest()))
    source.reads.clear()
    return source


def test_file_that_is_not_what_its_registry_states_is_refused_by_name(tensors):
    base, instruct = memory_source(tensors[0]), stating(memory_source(tensors[1]), model="ab" * 32)
    with pytest.raises(SourceCorrupted, match=rf"model\.safetensors: .* the registry states {'ab' * 32}") as caught:
        run_sweep(base, instruct, LAMBDAS)
    assert caught.value.details["file"] == "model.safetensors"
    assert caught.value.retryable


@pytest.mark.parametrize("layout", LAYOUTS)
def test_digest_of_a_file_read_front_to_back_is_computed_whatever_is_stated(tensors, layout):
    base, instruct = (stating(memory_source(side, LAYOUTS[layout])) for side in tensors)
    sweep = run_sweep(base, instruct, LAMBDAS)
    assert all(not shard.stated for shard in sweep.merged)
    assert sweep.digests_of("base") == {
        name: info.sha256 for name, info in base.files().items() if name.endswith(".safetensors")
    }


def test_where_the_registry_states_a_digest_nothing_is_read_again_for_it(tensors):
    base, instruct = stating(memory_source(tensors[0], REVERSED)), stating(memory_source(tensors[1]))
    sweep = run_sweep(base, instruct, LAMBDAS)
    stated = {(role, file) for shard in sweep.merged for role, files in shard.stated.items() for file in files}
    assert stated == {("base", "model-00001-of-00001.safetensors")}
    for role, source in (("base", base), ("instruct", instruct)):
        assert joined(read_tensors(source)) == joined(source.expected)
        assert sweep.digests_of(role) == {
            name: info.sha256 for name, info in source.files().items() if name.endswith(".safetensors")
        }


def test_stated_digest_is_that_of_the_bytes_where_it_is_true(tensors):
    base, instruct = (stating(memory_source(side, LAYOUTS["dealt"])) for side in tensors)
    content = bytearray(base.files()["model-00001-of-00002.safetensors"].size_bytes)
    base.read_into("model-00001-of-00002.safetensors", 0, memoryview(content))
    sweep = run_sweep(base, instruct, LAMBDAS)
    assert sweep.digests_of("base")["model-00001-of-00002.safetensors"] == sha256(bytes(content))
