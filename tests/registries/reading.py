"""A model's content, and how to read some of it."""

import random
from collections.abc import Callable

from crossfade_registries.local.source import LocalSource

CONTENT = random.Random(1).randbytes(100_003)
"""Of `model/model.safetensors` below the root."""

OpenModel = Callable[..., LocalSource]
"""Opens a folder below the root, `model` unless another is named."""


def read(source: LocalSource, file: str = "model.safetensors", offset: int = 0, size_bytes: int = 8) -> bytes:
    content = bytearray(size_bytes)
    source.read_into(file, offset, memoryview(content))
    return bytes(content)
