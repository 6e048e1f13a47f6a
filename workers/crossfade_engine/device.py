"""Where the arithmetic runs: the one seam between the pass and a processor.

Both devices compute torch.lerp: float32, one fused multiply-add an element, rounded once (docs/numerics.md).
"""

from typing import Protocol

import torch

from crossfade_core.errors import ProgramMissing


class Device(Protocol):
    """Computes one λ of one piece of a tensor; used by several threads at once."""

    def operand(self, piece: torch.Tensor, room_f32: torch.Tensor | None) -> torch.Tensor:
        """Bring a piece of a parent (host memory, 1-d) to where it is computed with.

        Args:
            piece: Elements in the parent's dtype.
            room_f32: Host memory of the same length to upcast into, or None when the dtype is computed with as it is.
        """

    def lerp(
        self, base: torch.Tensor, instruct: torch.Tensor, lam: float, out: torch.Tensor, scratch: torch.Tensor | None
    ) -> None:
        """Write base + lam·(instruct − base) into `out` (host memory, 1-d, the output's dtype).

        Args:
            base: What `operand` made of the base's piece.
            instruct: What `operand` made of the instruct's piece, same length and dtype.
            lam: The strength, already rounded to float32.
            out: Same length.
            scratch: Host memory, float32, same length, where `out` has another dtype than the operands.
        """


class CpuDevice:
    """torch on the host; holds no memory of its own."""

    def operand(self, piece: torch.Tensor, room_f32: torch.Tensor | None) -> torch.Tensor:
        """Return the piece itself, or its float32 copy in `room_f32`."""
        return piece if room_f32 is None else room_f32.copy_(piece)

    def lerp(
        self, base: torch.Tensor, instruct: torch.Tensor, lam: float, out: torch.Tensor, scratch: torch.Tensor | None
    ) -> None:
        """Interpolate straight into `out`, or through `scratch` where dtypes differ."""
        if scratch is None:
            torch.lerp(base, instruct, lam, out=out)
        else:
            out.copy_(torch.lerp(base, instruct, lam, out=scratch))


class CudaDevice:
    """torch on one NVIDIA GPU; holds one chunk of both parents for every slot of the ring, and one result a thread."""

    def __init__(self, index: int = 0) -> None:
        self._device = torch.device("cuda", index)

    def operand(self, piece: torch.Tensor, room_f32: torch.Tensor | None) -> torch.Tensor:
        """Copy the piece to the GPU, upcast there where asked."""
        return piece.to(self._device) if room_f32 is None else piece.to(self._device).float()

    def lerp(
        self, base: torch.Tensor, instruct: torch.Tensor, lam: float, out: torch.Tensor, scratch: torch.Tensor | None
    ) -> None:
        """Interpolate and round on the GPU, copy the result back."""
        out.copy_(torch.lerp(base, instruct, lam).to(out.dtype))


def open_device(name: str) -> Device:
    """Return the device called `auto`, `cpu` or `cuda`; `auto` is cuda where there is one.

    Also turns off torch's own threads, for the whole process.

    Raises:
        ProgramMissing: `cuda` was asked for and torch sees none.
    """
    torch.set_num_threads(1)  # the pass brings its own: pools of pools cost up to 20 times the time on a busy machine
    has_cuda = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ProgramMissing("device cuda: torch sees no GPU here; install a CUDA build of torch or use device cpu")
    return CudaDevice() if has_cuda else CpuDevice()
