"""SHA-256 on the way: of every output, and of every input file exactly once over all shards of a plan."""

import pytest

from tests.engine.sweep import Sweep, decode_file, memory_source, normal_pair, run_sweep, sha256
from tests.fakes.source import MemorySource

LAMBDAS = [0.0, 0.4, 1.0]
NAMES = [f"t{number}" for number in range(6)]
SEQUENTIAL = [NAMES[:2], NAMES[2:5], NAMES[5:]]
DEALT = [NAMES[0::2], NAMES[1::2]]
REVERSED = [NAMES[::-1]]
LAYOUTS = {"one file": None, "runs": SEQUENTIAL, "dealt": DEALT, "reversed": REVERSED}


@pytest.fixture
def tensors(rng):
    pairs = {name: normal_pair(rng, 3001 + 500 * number, "BF16") for number, name in enumerate(NAMES)}
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


def safetensors_of(source: MemorySource) -> dict[str, bytes]:
    whole = {}
    for name, info in source.files().items():
        if name.endswith(".safetensors"):
            whole[name] = bytearray(info.size_bytes)
            source.read_into(name, 0, memoryview(whole[name]))
    return {name: bytes(content) for name, content in whole.items()}


def data_bytes(source: MemorySource) -> int:
    return sum(len(data) for content in safetensors_of(source).values() for _, _, data in decode_file(content).values())


def assert_digests_are_true(sweep: Sweep, base: MemorySource, instruct: MemorySource) -> None:
    for number, shard in enumerate(sweep.plan.shards):
        written = [sha256(sweep.outputs[lam][shard.file]) for lam in sweep.outputs]
        assert list(sweep.merged[number].outputs) == written
    for side, source in (("base", base), ("instruct", instruct)):
        assert sweep.digests_of(side) == {name: sha256(content) for name, content in safetensors_of(source).items()}


@pytest.mark.parametrize("instruct_layout", LAYOUTS)
@pytest.mark.parametrize("base_layout", LAYOUTS)
@pytest.mark.parametrize("chunk_bytes", [4096, None])
def test_every_digest_is_that_of_the_file(tensors, base_layout, instruct_layout, chunk_bytes):
    base = memory_source(tensors[0], LAYOUTS[base_layout])
    instruct = memory_source(tensors[1], LAYOUTS[instruct_layout])
    sweep = run_sweep(base, instruct, LAMBDAS, chunk_bytes=chunk_bytes)
    assert_digests_are_true(sweep, base, instruct)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_layouts_match_every_input_byte_is_read_exactly_once(tensors, layout):
    base, instruct = (memory_source(side, LAYOUTS[layout]) for side in tensors)
    run_sweep(base, instruct, LAMBDAS)
    for source in (base, instruct):
        reads = list(source.reads)
        for name, content in safetensors_of(source).items():
            spans = sorted((read.offset, read.offset + read.size_bytes) for read in reads if read.file == name)
            assert spans[0][0] == 0
            assert [end for _, end in spans] == [start for start, _ in spans[1:]] + [len(content)]


def test_runs_of_a_parent_that_make_up_one_output_file_are_read_once(tensors):
    base, instruct = memory_source(tensors[0], SEQUENTIAL), memory_source(tensors[1])
    sweep = run_sweep(base, instruct, LAMBDAS)
    once = base.read_bytes(), instruct.read_bytes()
    assert_digests_are_true(sweep, base, instruct)
    assert once == tuple(sum(map(len, safetensors_of(source).values())) for source in (base, instruct))


@pytest.mark.parametrize("base_layout", [None, DEALT, REVERSED])
def test_elsewhere_a_file_is_read_at_most_once_more_for_its_digest(tensors, base_layout):
    base, instruct = memory_source(tensors[0], base_layout), memory_source(tensors[1], SEQUENTIAL)
    run_sweep(base, instruct, LAMBDAS)
    read = base.read_bytes()
    assert read <= data_bytes(base) + sum(map(len, safetensors_of(base).values()))


@pytest.mark.parametrize("base_layout", ["one file", "runs"])
@pytest.mark.parametrize("instruct_layout", ["one file", "runs", "other runs"])
def test_one_process_reads_every_byte_once_however_the_two_are_cut(tensors, base_layout, instruct_layout):
    layouts = {**LAYOUTS, "other runs": [NAMES[:1], NAMES[1:4], NAMES[4:5], NAMES[5:]]}
    base, instruct = (
        memory_source(tensors[0], layouts[base_layout]),
        memory_source(tensors[1], layouts[instruct_layout]),
    )
    sweep = run_sweep(base, instruct, LAMBDAS, is_one_process=True)
    once = base.read_bytes(), instruct.read_bytes()
    assert_digests_are_true(sweep, base, instruct)
    assert once == tuple(sum(map(len, safetensors_of(source).values())) for source in (base, instruct))


@pytest.mark.parametrize("base_layout", LAYOUTS)
@pytest.mark.parametrize("instruct_layout", LAYOUTS)
def test_digests_that_one_process_carries_along_are_the_files(tensors, base_layout, instruct_layout):
    base = memory_source(tensors[0], LAYOUTS[base_layout])
    instruct = memory_source(tensors[1], LAYOUTS[instruct_layout])
    assert_digests_are_true(run_sweep(base, instruct, LAMBDAS, is_one_process=True), base, instruct)


def test_files_without_a_byte_of_tensors_have_digests_too():
    for tensors in ({}, {"empty": ("BF16", (0, 3), b"")}):
        base, instruct = memory_source(tensors), memory_source(tensors)
        assert_digests_are_true(run_sweep(base, instruct, LAMBDAS), base, instruct)
