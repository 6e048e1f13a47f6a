"""Read a PEFT LoRA adapter over a base: which base tensors it adds a low-rank delta to, and which it replaces whole.

Decided from the adapter's config and header and the base's names and shapes. Every tensor of the adapter is a part of
one delta, replaces one base tensor, or is a copy of the base's own; one that is none of these is refused. Whatever
`merge_and_unload` would need more for than the factors is refused, with the way out.

Source: peft 0.21, utils/save_and_load.py (names), utils/other.py (modules_to_save); held against that package by
tests/core/test_adapter_of_peft.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from crossfade_core.adapter_config import ADAPTER_CONFIG, MERGE_FIRST, AdapterConfig, parse_adapter_config
from crossfade_core.adapter_deltas import DeltaReader, locate, malformed
from crossfade_core.checkpoint import CheckpointLayout
from crossfade_core.errors import AdapterMalformed, AdapterUnsupported
from crossfade_core.plan import ByteRange, LowRankDelta, StoredTensor

__all__ = ["ADAPTER_CONFIG", "ADAPTER_FILE", "Adapter", "read_adapter"]

ADAPTER_FILE: Final = "adapter_model.safetensors"

_OUTER: Final = "base_model.model."
_PART: Final = re.compile(
    r"(?P<module>.+)\.(?:(?P<linear>lora_[AB])(?:\.default)?\.weight|(?P<embedding>lora_embedding_[AB])(?:\.default)?"
    r"|(?P<magnitude>lora_magnitude_vector)(?:\.default)?(?:\.weight)?)"
)
_SAVED: Final = re.compile(r"\.modules_to_save(?:\.default)?(?=\.)")


@dataclass(frozen=True)
class Adapter:
    """What an adapter makes of its base.

    Attributes:
        deltas: What it adds, by base tensor.
        replaced: Its own tensor instead of the base's, by base tensor and under that name, of whatever shape.
        absorbed: By the adapter's own names, with the reason: parts of deltas, and copies that nothing reads.
    """

    deltas: Mapping[str, LowRankDelta]
    replaced: Mapping[str, StoredTensor]
    absorbed: Mapping[str, tuple[StoredTensor, str]]


def read_adapter(raw_config: bytes, layout: CheckpointLayout, base: Mapping[str, StoredTensor]) -> Adapter:
    """Read an adapter.

    Args:
        raw_config: Its adapter_config.json.
        layout: Its tensors.
        base: The base's tensors, by name.

    Raises:
        AdapterMalformed: The config or a tensor is not as PEFT writes it, or does not fit the base.
        DuplicateKey: A key of the config stands twice.
        AdapterUnsupported: It is an adapter of a kind that is not merged here; the message says which.
    """
    config = parse_adapter_config(raw_config)
    parts, whole = _sort(layout)
    if not parts and not whole:
        raise AdapterMalformed(f"{ADAPTER_FILE}: holds no tensor; save the adapter again", file=ADAPTER_FILE)
    reader = DeltaReader(config, base)
    deltas: dict[str, LowRankDelta] = {}
    absorbed: dict[str, tuple[StoredTensor, str]] = {}
    for module, found in parts.items():
        target, delta = reader.read(module, found)
        if target.name in deltas:
            raise malformed(next(iter(found.values())), f"a second delta of {target.name!r}")
        deltas[target.name] = delta
        absorbed |= {part.name: (part, f"factor of the delta of {target.name}") for part in found.values()}
    reader.check_squares()
    replaced, copies = _sort_whole(whole, base, deltas, config)
    return Adapter(deltas, replaced, absorbed | copies)


def _sort(layout: CheckpointLayout) -> tuple[dict[str, dict[str, StoredTensor]], dict[str, StoredTensor]]:
    """Return the parts of deltas by module and kind, and whole tensors by name, both without PEFT's prefix.

    Raises:
        AdapterMalformed: A tensor is neither, or two are the same part.
    """
    parts: dict[str, dict[str, StoredTensor]] = {}
    whole: dict[str, StoredTensor] = {}
    for name, (file, entry) in layout.tensors.items():
        tensor = StoredTensor(name, entry.shape, ByteRange(file, entry.dtype, entry.start, entry.end))
        plain = name.removeprefix(_OUTER)
        part = _PART.fullmatch(plain)
        if part is not None:
            kind = part["linear"] or part["embedding"] or part["magnitude"]
            first = parts.setdefault(part["module"], {}).setdefault(kind, tensor)
        elif "lora_" in plain or "trainable_tokens" in plain:
            raise malformed(tensor, "no part of a LoRA adapter that is read here")
        else:
            first = whole.setdefault(plain, tensor)
        if first is not tensor:
            raise malformed(tensor, f"the same part as {first.name!r}")
    return parts, whole


def _sort_whole(
    whole: Mapping[str, StoredTensor],
    base: Mapping[str, StoredTensor],
    deltas: Mapping[str, LowRankDelta],
    config: AdapterConfig,
) -> tuple[dict[str, StoredTensor], dict[str, tuple[StoredTensor, str]]]:
    """Return what replaces base tensors, by base tensor, and copies that nothing reads, by the adapter's names."""
    replaced: dict[str, StoredTensor] = {}
    copies: dict[str, tuple[StoredTensor, str]] = {}
    for plain, tensor in whole.items():
        name = _SAVED.sub("", plain, count=1)
        if name != plain and name in whole:
            copies[tensor.name] = (tensor, f"second copy of {whole[name].name}")
            continue
        target = locate(name.replace(".original_module.", ".", 1).replace(".base_layer.", ".", 1), tensor, base)
        if ".original_module." in name or target.name in deltas:
            copies[tensor.name] = (_check_copy(tensor, target, name, config), f"copy of the base's own {target.name}")
        elif target.name in replaced:
            raise malformed(tensor, f"a second tensor that replaces {target.name!r}")
        else:
            replaced[target.name] = replace(tensor, name=target.name)
    return replaced, copies


def _check_copy(tensor: StoredTensor, target: StoredTensor, name: str, config: AdapterConfig) -> StoredTensor:
    """Return a tensor that PEFT saved along, if it may be taken for the base's own.

    Raises:
        AdapterUnsupported: It is of another shape (a vocabulary that grew), or was trained beside its own delta.
    """
    module = name.rpartition(".")[0].removesuffix(".base_layer")
    is_trained = ".original_module." not in name and module.endswith(config.modules_to_save)
    if is_trained or tensor.shape != target.shape:
        why = "was trained as a whole too" if is_trained else f"has shape {list(tensor.shape)}"
        raise AdapterUnsupported(
            f"{tensor.bytes.file}: {tensor.name!r} {why}, beside a delta of the base's {target.name!r} of shape "
            f"{list(target.shape)}; {MERGE_FIRST}",
            file=tensor.bytes.file,
            tensor=tensor.name,
        )
    return tensor
