"""What a checkpoint's config.json says that a merge must know, and the least change that makes an output's true.

A config is copied along: what is true in it stays, byte for byte if nothing must change, so that a reader finds in the
output what it found in the parent. Decides where a fact is stated, and whether what is stated is so. Never knows an
architecture's defaults, never reads weights.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from crossfade_core.errors import ConfigMalformed, DuplicateKey
from crossfade_core.untrusted_json import shown

CONFIG_FILE: Final = "config.json"

_MAX_DEPTH: Final = 64
"""Real configs have about five levels; Python's JSON writer takes a stack frame for each."""
_DTYPE_KEYS: Final = ("torch_dtype", "dtype")
"""transformers writes the second since 4.56 and reads both; older readers know the first only."""
_QUANTISATION_KEYS: Final = ("quantization_config", "compression_config")
"""The second is what compressed-tensors wrote at first."""
_NAMED_SECTIONS: Final = frozenset({"decoder", "encoder", "generator", "text_encoder", "audio_encoder"})
_LANGUAGE_SECTIONS: Final = frozenset({"text_config", "llm_config", "language_config", "thinker_config"})
"""Sections that say of a multimodal model what the top level says of a language model."""

Path = tuple[str, ...]


def read_config(raw: bytes) -> dict[str, Any]:
    """Parse a config.json as its readers do: Infinity and NaN are let through, as Python writes them (Mamba-2 does).

    Raises:
        ConfigMalformed: Not UTF-8, not JSON, no object, or nested deeper than 64 levels.
        DuplicateKey: A key stands twice, at any depth.
    """
    try:
        config = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"its JSON cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise _malformed("its JSON is no object")
    level: list[object] = [config]
    for _ in range(_MAX_DEPTH):
        level = [inner for value in level for inner in _members(value)]
    if level:
        raise _malformed(f"nested deeper than {_MAX_DEPTH} levels")
    return config


def is_tied(config: Mapping[str, Any]) -> bool | None:
    """Tell whether the head is the embedding, or None where the config is silent: defaults differ by architecture.

    True where any place says so, as a multimodal model's readers take it (transformers, `LlavaConfig.__post_init__`).

    Raises:
        ConfigMalformed: `tie_word_embeddings` is neither true, false nor null.
    """
    stated = [value for _, value in _stated(_language_sections(config), "tie_word_embeddings")]
    for value in stated:
        if not isinstance(value, bool):
            raise _malformed(f"tie_word_embeddings is {shown(value)}; true or false expected")
    return any(stated) if stated else None


def config_changes(
    config: Mapping[str, Any],
    *,
    dtype: str | None,
    is_tied: bool | None,
    vocabulary_rows: int | None,
    is_dequantised: bool,
) -> dict[str, Any]:
    """Return what must change for the config to state the facts about an output; nothing where it states them.

    Args:
        config: The parent's, whose copy the output carries.
        dtype: Of its floating-point tensors, by most bytes: `bfloat16`, `float16` or `float32`; None leaves what is
            stated.
        is_tied: Whether the files hold no head of their own, the embedding being both; None leaves what is stated.
        vocabulary_rows: Rows of the embedding; None leaves what is stated.
        is_dequantised: Whether quantised tensors were turned into plain ones.

    Returns:
        JSON pointer (RFC 6901) → new value, None to remove.
    """
    changes: dict[Path, Any] = {}
    if dtype is not None:
        changes |= _dtype_changes(config, dtype)
    if is_tied is not None:
        changes |= _tie_changes(config, is_tied)
    if vocabulary_rows is not None:
        stated_rows = _stated(_language_sections(config), "vocab_size")
        changes |= {path: vocabulary_rows for path, value in stated_rows if value != vocabulary_rows}
    if is_dequantised:
        changes |= {path: None for key in _QUANTISATION_KEYS for path, _ in _stated(_sections(config), key)}
    return {_pointer(path): value for path, value in changes.items()}


def apply_changes(raw: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return the config with its changes made: keys keep their order, and the very bytes where there are no changes.

    Args:
        raw: The config.json that the changes were made for.
        changes: What `config_changes` returned.

    Raises:
        ConfigMalformed: Not a config, or another one: a change lies in an object that is not there.
        DuplicateKey: A key stands twice.
    """
    if not changes:
        return raw
    config = read_config(raw)
    for pointer, value in changes.items():
        section, key = _place(config, pointer)
        if value is None:
            section.pop(key, None)
        else:
            section[key] = value
    # A lone surrogate, which JSON can spell and UTF-8 cannot, is written as it was read: \ud800.
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _dtype_changes(config: Mapping[str, Any], dtype: str) -> dict[Path, Any]:
    """Restate the dtype wherever one is stated, unless what the language model's sections state is so.

    Then the other parts' are left alone: a vision tower may well be of another dtype. Where none is stated, readers
    that do not look at the tensors take float32; so any other is stated, in the key that all of them know.
    """
    sections = list(_language_sections(config))
    stated = [value for key in _DTYPE_KEYS for _, value in _stated(sections, key)]
    if all(value == dtype for value in stated or ["float32"]):
        return {}
    every = [found for key in _DTYPE_KEYS for found in _stated(_sections(config), key)]
    changes: dict[Path, Any] = {path: dtype for path, value in every if value != dtype}
    if dtype != "float32" and all(config.get(key) is None for key in _DTYPE_KEYS):
        changes[_DTYPE_KEYS[:1]] = dtype
    return changes


def _tie_changes(config: Mapping[str, Any], is_tied: bool) -> dict[Path, Any]:
    """State whether the head is tied wherever a reader may look, unless all that is stated says so.

    Which place counts depends on the reader's version, and a class's default steps in for a silent one: so if one
    place must change, none is left silent.
    """
    sections, key = list(_language_sections(config)), "tie_word_embeddings"
    stated = [value for _, value in _stated(sections, key)]
    if stated and all(value is is_tied for value in stated):
        return {}
    return {(*path, key): is_tied for path, section in sections if section.get(key) is not is_tied}


def _stated(sections: Iterable[tuple[Path, Mapping[str, Any]]], key: str) -> Iterator[tuple[Path, Any]]:
    """Yield where a key is stated, and as what; null states nothing."""
    for path, section in sections:
        if section.get(key) is not None:
            yield (*path, key), section[key]


def _sections(config: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the config and each config nested in it that describes a part of the model, outer ones first.

    Other objects are left alone: a vocabulary may have a token called `dtype` (Emu3).
    """
    pending: list[tuple[Path, Mapping[str, Any]]] = [((), config)]
    for path, section in pending:
        yield path, section
        for key, inner in section.items():
            is_part = key in _NAMED_SECTIONS or (key.endswith("_config") and key not in _QUANTISATION_KEYS)
            if is_part and isinstance(inner, dict):
                pending.append(((*path, key), inner))


def _language_sections(config: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the config and those nested in it that describe its language model."""
    return ((path, section) for path, section in _sections(config) if _LANGUAGE_SECTIONS.issuperset(path))


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise DuplicateKey(
            f"{CONFIG_FILE}: {shown(twice)} stands twice; parsers differ in which they take",
            file=CONFIG_FILE,
            key=shown(twice),
        )
    return members


def _pointer(path: Path) -> str:
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _place(config: dict[str, Any], pointer: str) -> tuple[dict[str, Any], str]:
    """Return the object that a pointer leads into, and the key in it."""
    section: Any = config
    *parents, last = pointer.split("/")
    for escaped in (*parents[1:], last):
        if not isinstance(section, dict):
            raise _malformed(f"has no object for {shown(pointer)}; it is not the config that was planned with")
        parent, key = section, escaped.replace("~1", "/").replace("~0", "~")
        section = section.get(key)
    return parent, key


def _malformed(found: str) -> ConfigMalformed:
    return ConfigMalformed(f"{CONFIG_FILE}: {found}; copy or export it again", file=CONFIG_FILE)
