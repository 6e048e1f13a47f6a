"""Turn the factors of an adapter's modules into deltas of base tensors: which tensor, of what shape, stored which way.

Says nothing of how strong a delta is (`crossfade_core.adapter_config`), nor of an adapter's whole tensors
(`crossfade_core.adapter`).

Source: peft 0.21, tuners/lora/layer.py (Linear and Embedding `get_delta_weight`) and dora.py.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from crossfade_core.adapter_config import ADAPTER_CONFIG, MERGE_FIRST, AdapterConfig
from crossfade_core.errors import AdapterMalformed, AdapterUnsupported
from crossfade_core.plan import MERGEABLE, ByteRange, LowRankDelta, StoredTensor

LINEAR: Final = ("lora_A", "lora_B")
EMBEDDING: Final = ("lora_embedding_A", "lora_embedding_B")
MAGNITUDE: Final = "lora_magnitude_vector"
"""Kinds of parts of a delta; of each pair [rank, columns] and [rows, rank]."""

_FACTOR_DTYPES: Final = frozenset({"F32", "BF16", "F16"})
_PREFIXES: Final = ("model.", "transformer.")
"""What one class of a model puts before its names and another does not."""


class DeltaReader:
    """Turns the factors of one module after another into deltas, and remembers how layers turned out to be stored."""

    def __init__(self, config: AdapterConfig, base: Mapping[str, StoredTensor]) -> None:
        self._config, self._base = config, base
        self._square: StoredTensor | None = None
        self._contrary: StoredTensor | None = None

    def read(self, module: str, parts: Mapping[str, StoredTensor]) -> tuple[StoredTensor, LowRankDelta]:
        """Return the base tensor of a module, and what the adapter adds to it.

        Raises:
            AdapterMalformed: A factor is missing, or of another shape than the rank and the base tensor ask for.
            AdapterUnsupported: The layer is of a kind that is not merged here.
        """
        kinds = EMBEDDING if any(kind in parts for kind in EMBEDDING) else LINEAR
        self._check_parts(module, parts, kinds)
        down, up = (parts[kind] for kind in kinds)
        target = locate(f"{module}.weight", down, self._base)
        rank, scaling = self._config.strength(module)
        if (down.shape[0], up.shape[1]) != (rank, rank):
            raise malformed(
                down,
                f"of shape {list(down.shape)} and {up.name!r} of {list(up.shape)}, where {ADAPTER_CONFIG} gives "
                f"{module!r} the rank {rank}",
            )
        is_transposed = kinds is EMBEDDING or self._is_transposed(down, up, target)
        rows, columns = (down.shape[1], up.shape[0]) if is_transposed else (up.shape[0], down.shape[1])
        if target.shape != (rows, columns) or target.bytes.value_dtype not in MERGEABLE:
            raise malformed(
                down,
                f"a factor of a delta of shape {[rows, columns]}, where the base's {target.name!r} is "
                f"{target.bytes.dtype} of shape {list(target.shape)}",
            )
        magnitude = self._magnitude(parts, rows, is_transposed=is_transposed)
        return target, LowRankDelta(down.bytes, up.bytes, rank, scaling, is_transposed, magnitude)

    def check_squares(self) -> None:
        """Make sure that no square matrix had to be taken on a word that other matrices belie.

        Raises:
            AdapterUnsupported: `fan_in_fan_out` is not what some layers' shapes say, and a square layer's cannot say.
        """
        if self._square is not None and self._contrary is not None:
            raise AdapterUnsupported(
                f"{ADAPTER_CONFIG}: fan_in_fan_out is {str(self._config.is_fan_in_fan_out).lower()}, but the shapes of "
                f"{self._contrary.name!r} say otherwise; {self._square.name!r} is square, so that nothing tells how it "
                f"is stored; {MERGE_FIRST}",
                file=ADAPTER_CONFIG,
                tensor=self._square.name,
            )

    def _check_parts(self, module: str, parts: Mapping[str, StoredTensor], kinds: tuple[str, str]) -> None:
        wanted = {*kinds, MAGNITUDE} if self._config.has_magnitudes else {*kinds}
        for tensor in parts.values():
            if wanted != set(parts):
                raise malformed(tensor, f"one of {sorted(parts)} of {module!r}, where {sorted(wanted)} are expected")
            if tensor.bytes.dtype not in _FACTOR_DTYPES:
                raise unsupported(tensor, f"of {tensor.bytes.dtype}, where F32, BF16 and F16 are read")
        for kind in kinds:
            if len(parts[kind].shape) != 2:
                raise unsupported(parts[kind], f"of shape {list(parts[kind].shape)}: a layer that is no matrix")

    def _is_transposed(self, down: StoredTensor, up: StoredTensor, target: StoredTensor) -> bool:
        """Whether a layer stores [in, out]: its shape says so, or if it is square the config. PEFT asks the layer."""
        said = self._config.is_fan_in_fan_out
        if down.shape[1] == up.shape[0]:
            self._square = self._square or target
            return said
        found = target.shape == (down.shape[1], up.shape[0])
        if found is not said:
            self._contrary = self._contrary or target
        return found

    def _magnitude(self, parts: Mapping[str, StoredTensor], rows: int, *, is_transposed: bool) -> ByteRange | None:
        tensor = parts.get(MAGNITUDE)
        if tensor is None:
            return None
        if is_transposed:
            raise unsupported(tensor, "of a DoRA of an embedding, or of a layer that stores [in, out]")
        if tensor.shape != (rows,):
            raise malformed(tensor, f"of shape {list(tensor.shape)}, where the base tensor has {rows} rows")
        return tensor.bytes


def locate(name: str, tensor: StoredTensor, base: Mapping[str, StoredTensor]) -> StoredTensor:
    """Return the base tensor an adapter calls `name`.

    Raises:
        AdapterMalformed: The base has none of that name, with or without the prefixes in use.
    """
    for variant in _variants(name):
        if variant in base:
            return base[variant]
    end = "." + ".".join(name.split(".")[-2:])
    alike = [found for found in base if found.endswith(end)] or list(base)
    file = tensor.bytes.file
    raise AdapterMalformed(
        f"{file}: {tensor.name!r} is for the module {name.rpartition('.')[0]!r}, but the base has no tensor {name!r} "
        f"(it has {', '.join(map(repr, alike[:3]))}); give the base the adapter was made for, or, where that ties the "
        f"tensor to another, {MERGE_FIRST}",
        file=file,
        tensor=tensor.name,
    )


def _variants(name: str) -> Iterator[str]:
    yield name
    for prefix in _PREFIXES:
        yield name.removeprefix(prefix) if name.startswith(prefix) else prefix + name


def malformed(tensor: StoredTensor, what: str) -> AdapterMalformed:
    """Return the error for a tensor of an adapter that is not as PEFT writes it."""
    file = tensor.bytes.file
    return AdapterMalformed(f"{file}: {tensor.name!r} is {what}; save the adapter again", file=file, tensor=tensor.name)


def unsupported(tensor: StoredTensor, what: str) -> AdapterUnsupported:
    """Return the error for a tensor of an adapter of a kind that is not merged here."""
    file = tensor.bytes.file
    return AdapterUnsupported(f"{file}: {tensor.name!r} is {what}; {MERGE_FIRST}", file=file, tensor=tensor.name)
