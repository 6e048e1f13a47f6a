"""What a pass announces to its sources is what it reads, in that order, so that remote ones can fetch ahead."""

import hashlib

import numpy as np
import pytest

from crossfade_core.errors import SourceCorrupted
from tests.engine.sweep import adapter_source, memory_source, normal_pair, run_sweep
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


@pytest.mark.parametrize("base_layout", [REVERSED, LAYOUTS["dealt"]])
def test_file_that_is_not_read_front_to_back_is_held_against_its_registry_too(tensors, base_layout):
    base, instruct = stating(memory_source(tensors[0], base_layout)), stating(memory_source(tensors[1]))
    sweep = run_sweep(base, instruct, LAMBDAS)
    for role, source in (("base", base), ("instruct", instruct)):
        stated = {name: info.sha256 for name, info in source.files().items() if name.endswith(".safetensors")}
        assert sweep.digests_of(role) == stated
    false = max(name for name in base.files() if name.endswith(".safetensors"))
    base.state_digest(false, "ab" * 32)
    with pytest.raises(SourceCorrupted, match=false):
        run_sweep(base, instruct, LAMBDAS)
