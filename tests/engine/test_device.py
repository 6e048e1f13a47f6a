"""The seam between the pass and a processor: what reaches it, and what both of its sides compute."""

import os
import threading

import numpy as np
import pytest
import torch

from crossfade_core.errors import ProgramMissing
from crossfade_engine.device import CpuDevice, CudaDevice, open_device
from crossfade_engine.merge_shard import open_resources
from tests.engine.oracle import merged
from tests.engine.sweep import CHUNK_BYTES, memory_source, normal_pair, run_sweep


class RecordingDevice(CpuDevice):
    """The CPU; records the λ of every piece computed, and how many pieces were brought."""

    def __init__(self) -> None:
        self.lambdas: list[float] = []
        self.operands = 0

    def operand(self, numbers):
        self.operands += 1
        return super().operand(numbers)

    def lerp(self, base, instruct, lam, out):
        self.lambdas.append(lam)
        super().lerp(base, instruct, lam, out)


@pytest.mark.parametrize("instruct_dtype", ["BF16", "F32"])
def test_lambda_0_and_1_reach_no_arithmetic(rng, instruct_dtype):
    base, instruct = normal_pair(rng, 9001, "BF16", instruct_dtype)
    seen = RecordingDevice()
    run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), [0.0, 0.5, 1.0, -0.0], device=seen)
    assert set(seen.lambdas) == {0.5}


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_equal_tensors_reach_no_arithmetic(rng, dtype):
    tensor = normal_pair(rng, 5 * CHUNK_BYTES, dtype)[0]
    seen = RecordingDevice()
    run_sweep(memory_source({"w": tensor}), memory_source({"w": tensor}), [0.1, 0.5, 2.0], device=seen)
    assert (seen.operands, seen.lambdas) == (0, [])


def test_every_piece_is_brought_once_however_many_lambdas_there_are(rng):
    base, instruct = normal_pair(rng, 10_000, "BF16")
    counts = []
    for lambdas in ([0.5], [0.1, 0.2, 0.3, 0.4, 0.5]):
        seen = RecordingDevice()
        run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), lambdas, device=seen)
        counts.append(seen.operands)
        assert len(seen.lambdas) == seen.operands // 2 * len(lambdas)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("lam", [0.3, 0.7])
def test_a_device_interpolates_and_rounds_once(rng, device, dtype, lam):
    names = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    base, instruct = normal_pair(rng, 1001, dtype)
    operands = [
        device.operand(torch.frombuffer(bytearray(data), dtype=names[dtype])) for _, _, data in (base, instruct)
    ]
    out = torch.empty(1001, dtype=names[dtype])
    device.lerp(*operands, float(np.float32(lam)), out)
    assert out.view(torch.uint8).numpy().tobytes() == merged(base, instruct, lam, dtype)


def test_a_device_serves_several_threads_at_once(rng, device):
    base, instruct = normal_pair(rng, 50_000, "F32")
    operands = [device.operand(torch.frombuffer(bytearray(data), dtype=torch.float32)) for *_, data in (base, instruct)]
    outs = {lam: torch.empty(50_000) for lam in (0.1, 0.2, 0.3, 0.4)}
    threads = [
        threading.Thread(target=device.lerp, args=(*operands, float(np.float32(lam)), out)) for lam, out in outs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lam, out in outs.items():
        assert out.numpy().tobytes() == merged(base, instruct, lam, "F32")


def test_auto_takes_the_gpu_where_there_is_one():
    wanted = CudaDevice if torch.cuda.is_available() else CpuDevice
    assert isinstance(open_device("auto"), wanted)
    assert isinstance(open_device("cpu"), CpuDevice)


def test_cuda_is_opened_or_its_absence_said():
    if torch.cuda.is_available():
        assert isinstance(open_device("cuda"), CudaDevice)
    else:
        with pytest.raises(ProgramMissing, match="no GPU"):
            open_device("cuda")


def test_opening_a_device_turns_torchs_own_threads_off():
    open_device("cpu")
    assert torch.get_num_threads() == 1


def test_resources_take_two_threads_a_core_unless_told_otherwise():
    assert open_resources("cpu").threads == 2 * len(os.sched_getaffinity(0))
    assert open_resources("cpu", 3).threads == 3
