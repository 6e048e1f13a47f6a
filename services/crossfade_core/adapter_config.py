"""Read an adapter's config: how strong each module's delta is, and whether the adapter is one that can be merged here.

What would make the factors mean something else than a low-rank difference to the base is refused by its name, before a
tensor is looked at. Keys that only say how the adapter was trained are not looked at.

Source: peft 0.21, tuners/lora/config.py (LoraConfig, its defaults) and tuners/lora/layer.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from crossfade_core.errors import AdapterMalformed, AdapterUnsupported
from crossfade_core.module_patterns import ModulePatterns
from crossfade_core.untrusted_json import load_object, shown

ADAPTER_CONFIG: Final = "adapter_config.json"
MERGE_FIRST: Final = "merge it with peft first (merge_and_unload) and give the merged model"

_DEFAULT: Final = 8
"""Of r and of lora_alpha, where a config leaves them out."""
_MAX_RANK: Final = 2**31
_MAX_ALPHA: Final = 1e30
_MAX_NAMES: Final = 1024

_REFUSED: Final = {
    "lora_bias": "trains biases inside its factors (lora_bias)",
    "target_parameters": "targets parameters of fused experts (target_parameters)",
    "layer_replication": "repeats layers of the base (layer_replication)",
    "trainable_token_indices": "trains single tokens (trainable_token_indices)",
    "alora_invocation_tokens": "acts on some tokens only (aLoRA, alora_invocation_tokens)",
    "megatron_config": "is of Megatron's parallel layers (megatron_config)",
    "arrow_config": "chooses among adapters for each token (Arrow, arrow_config)",
    "kasa_config": "takes the base's smallest singular values away (KaSA, kasa_config)",
    "velora_config": "is a VeLoRA (velora_config)",
    "monteclora_config": "is a MonteCLoRA (monteclora_config)",
}
_KNOWN_USES: Final = frozenset({"use_rslora", "use_dora"})
_HARMLESS_INITS: Final = frozenset({"gaussian", "eva", "orthogonal", "mica", "true", "false"})
"""Ways to begin that leave the base as it was; PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ change it."""


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter's config says.

    Attributes:
        rank: Of modules that no pattern names.
        alpha: Likewise.
        ranks: Other ranks, by pattern.
        alphas: Other alphas, by pattern.
        is_rank_stabilised: Whether alpha is divided by √rank (rslora), not by the rank.
        has_magnitudes: Whether it is a DoRA.
        is_fan_in_fan_out: Whether it says that its layers store [in, out].
        modules_to_save: Ends of the names of modules it holds whole.
    """

    rank: int
    alpha: float
    ranks: ModulePatterns[int]
    alphas: ModulePatterns[float]
    is_rank_stabilised: bool
    has_magnitudes: bool
    is_fan_in_fan_out: bool
    modules_to_save: tuple[str, ...]

    def strength(self, module: str) -> tuple[int, float]:
        """Return a module's rank and its scaling.

        Args:
            module: Its name, as the adapter has it.

        Raises:
            AdapterUnsupported: A pattern takes too long to match.

        Source: alpha/r, LoRA, arXiv 2106.09685; alpha/√r, rslora, arXiv 2312.03732.
        """
        try:
            rank, alpha = self.ranks.find(module), self.alphas.find(module)
        except ValueError as error:
            raise _unsupported(f"has a pattern that cannot be matched here: {error}") from error
        rank = self.rank if rank is None else rank
        return rank, (self.alpha if alpha is None else alpha) / (math.sqrt(rank) if self.is_rank_stabilised else rank)


def parse_adapter_config(raw: bytes) -> AdapterConfig:
    """Read an adapter_config.json.

    Raises:
        AdapterMalformed: Not a JSON object, or a value is of another type or size than PEFT writes.
        DuplicateKey: A key stands twice.
        AdapterUnsupported: It is no LoRA, or one whose factors are more, or less, than a difference to the base.
    """
    config = load_object(raw, ADAPTER_CONFIG, AdapterMalformed)
    _check_supported(config)
    return AdapterConfig(
        _rank("r", config.get("r", _DEFAULT)),
        _alpha("lora_alpha", config.get("lora_alpha", _DEFAULT)),
        _patterns("rank_pattern", {key: _rank(key, value) for key, value in _pairs(config, "rank_pattern")}),
        _patterns("alpha_pattern", {key: _alpha(key, value) for key, value in _pairs(config, "alpha_pattern")}),
        is_rank_stabilised=_flag(config, "use_rslora"),
        has_magnitudes=_flag(config, "use_dora"),
        is_fan_in_fan_out=_flag(config, "fan_in_fan_out"),
        modules_to_save=_names(config, "modules_to_save"),
    )


def _check_supported(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if not isinstance(kind, str):
        raise _malformed("peft_type", kind, "the adapter's kind, such as LORA,")
    if kind != "LORA":
        raise _unsupported(f"is of the kind {shown(kind)}; only LORA is merged here")
    for key, words in _REFUSED.items():
        if config.get(key):
            raise _unsupported(words)
    for key in config:
        if key.startswith("use_") and key not in _KNOWN_USES and config[key]:
            raise _unsupported(f"uses a variant of LoRA that is not merged here ({shown(key)})")
    begun = config.get("init_lora_weights")
    if not isinstance(begun, bool | None) and str(begun).lower() not in _HARMLESS_INITS:
        raise _unsupported(
            f"was begun with init_lora_weights {shown(begun)}, which changes the base's own weights: its factors are a "
            "difference to those, not to this base. Save it with path_initial_model_for_weight_conversion, or"
        )


def _patterns(key: str, values: Mapping[str, Any]) -> ModulePatterns[Any]:
    try:
        return ModulePatterns(values)
    except ValueError as error:
        raise _unsupported(f"has a {key} that cannot be matched here: {error}") from error


def _pairs(config: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    found = config.get(key)
    if found is None:
        return []
    if not isinstance(found, dict):
        raise _malformed(key, found, "an object of numbers by pattern")
    return list(found.items())


def _rank(key: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_RANK:
        raise _malformed(key, value, "a rank, a whole number above 0,")
    return value


def _alpha(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_MAX_ALPHA < value < _MAX_ALPHA:
        raise _malformed(key, value, "an alpha, a number,")
    return float(value)


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if not isinstance(value, bool | None):
        raise _malformed(key, value, "true or false")
    return value is True


def _names(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = config.get(key) or []
    if not isinstance(found, list) or len(found) > _MAX_NAMES or not all(isinstance(name, str) for name in found):
        raise _malformed(key, found, f"a list of at most {_MAX_NAMES} names")
    return tuple(found)


def _malformed(key: str, value: object, expected: str) -> AdapterMalformed:
    return AdapterMalformed(
        f"{ADAPTER_CONFIG}: {expected} expected for {shown(key)}, found {shown(value)}; save the adapter again",
        file=ADAPTER_CONFIG,
    )


def _unsupported(words: str) -> AdapterUnsupported:
    separator = " " if words.endswith(" or") else "; "
    return AdapterUnsupported(f"{ADAPTER_CONFIG}: the adapter {words}{separator}{MERGE_FIRST}", file=ADAPTER_CONFIG)
