"""Where the arithmetic runs: the one seam between the pass and a processor.

Both devices compute torch.lerp: float32, one fused multiply-add an element, rounded once (docs/numerics.md).
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch

from crossfade_core.errors import ProgramMissing


class Device(Protocol):
    """Computes one λ of one piece of a tensor; used by several threads at once."""

    def pinned(self, buffers: Iterable[torch.Tensor]) -> AbstractContextManager[None]:
        """Ready host memory for copies to and from the device, until the context ends."""

    def operand(self, numbers: torch.Tensor) -> torch.Tensor:
        """Bring the numbers of a piece (host memory, 1-d) to where they are computed with."""

    def lerp(self, base: torch.Tensor, instruct: torch.Tensor, lam: float, out: torch.Tensor) -> None:
        """Write base + lam·(instruct − base) into `out`.

        Args:
            base: What `operand` made of the base's piece.
            instruct: What `operand` made of the instruct's piece, same length and dtype.
            lam: The strength, already rounded to float32.
            out: Host memory, 1-d, same length and dtype.
        """


class CpuDevice:
    """torch on the host; holds no memory of its own."""

    def pinned(self, buffers: Iterable[torch.Tensor]) -> AbstractContextManager[None]:
        """Do nothing: host memory is where the arithmetic runs."""
        return nullcontext()

    def operand(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the numbers as they are."""
        return numbers

    def lerp(self, base: torch.Tensor, instruct: torch.Tensor, lam: float, out: torch.Tensor) -> None:
        """Interpolate straight into `out`."""
        torch.lerp(base, instruct, lam, out=out)


class CudaDevice:
    """torch on one NVIDIA GPU; holds one chunk of both parents for every slot of the ring, and one result a thread.

    Every thread has a stream of its own and waits for it alone: while one copies a chunk in, others compute and copy
    results out. The ring's slots and the threads' scratch are the double buffers; while `pinned`, copies go by DMA.
    """

    def __init__(self, index: int = 0) -> None:
        self._device = torch.device("cuda", index)
        self._own = threading.local()

    @contextmanager
    def pinned(self, buffers: Iterable[torch.Tensor]) -> Iterator[None]:
        """Register host memory with the driver (cudaHostRegister); what it refuses is copied the slow way."""
        runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        held = [each for each in buffers if int(runtime.cudaHostRegister(each.data_ptr(), each.nbytes, 0)) == 0]
        try:
            yield
        finally:
            for each in held:
                runtime.cudaHostUnregister(each.data_ptr())

    def operand(self, numbers: torch.Tensor) -> torch.Tensor:
        """Copy the numbers to the GPU."""
        with self._stream() as stream:
            copied = numbers.to(self._device, non_blocking=True)
            stream.synchronize()
        return copied

    def lerp(self, base: torch.Tensor, instruct: torch.Tensor, lam: float, out: torch.Tensor) -> None:
        """Interpolate and round on the GPU, copy the result back."""
        with self._stream() as stream:
            out.copy_(torch.lerp(base, instruct, lam), non_blocking=True)
            stream.synchronize()

    @contextmanager
    def _stream(self) -> Iterator[torch.cuda.Stream]:
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._own.stream):
            yield self._own.stream


def check_device(name: str) -> None:
    """See that the device is there.

    Raises:
        ProgramMissing: `cuda` was asked for and torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ProgramMissing("device cuda: torch sees no GPU here; install a CUDA build of torch or use device cpu")


def open_device(name: str) -> Device:
    """Return the device called `auto`, `cpu` or `cuda`; `auto` is cuda where there is one.

    Also turns off torch's own threads, for the whole process.

    Raises:
        ProgramMissing: `cuda` was asked for and torch sees none.
    """
    torch.set_num_threads(1)  # the pass brings its own: pools of pools cost up to 20 times the time on a busy machine
    check_device(name)
    return CudaDevice() if name != "cpu" and torch.cuda.is_available() else CpuDevice()
