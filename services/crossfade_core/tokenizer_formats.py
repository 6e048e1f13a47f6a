"""One reader for each tokenizer file: id → token, as the programs that use the file read it, quirks included.

Every reader takes the file's bytes and its name, for messages, and raises TokenizerMalformed where the file is not
what its name says or gives one id to two tokens, DuplicateKey where a JSON key stands twice. Tokens are spelled as the
file spells them; those that are bytes (tekken, tiktoken) in the byte-level alphabet of GPT-2, as `tokenizer.json` does.
Never tokenizes, never reads how a tokenizer splits text. Time and memory stay in proportion to the bytes.
"""

import binascii
import re
from collections.abc import Iterable
from typing import Final, TypeGuard

from crossfade_core.errors import TokenizerMalformed
from crossfade_core.sentencepiece import read_pieces
from crossfade_core.untrusted_json import load_object, shown

_MAX_ID: Final = 2**32 - 1
"""tokenizers holds ids as u32."""
_TIKTOKEN_LINE: Final = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,10})")
_FAIRSEQ_TOKENS: Final = ("<s>", "<pad>", "</s>", "<unk>")


def read_tokenizer_json(raw: bytes, file: str) -> dict[int, str]:
    """Read the tokenizers library's own format: the model's vocabulary and the added tokens."""
    document = load_object(raw, file, TokenizerMalformed)
    model = document.get("model")
    stated = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(stated, dict):
        vocabulary = _by_id(stated.items(), file)
    elif isinstance(stated, list):
        vocabulary = dict(enumerate(_unigram_token(entry, file) for entry in stated))
    else:
        raise _malformed(file, "model.vocab as {token: id} or [[token, score], …]", stated)
    return vocabulary | _place_added(document.get("added_tokens") or [], vocabulary, len(stated), file)


def read_tekken(raw: bytes, file: str) -> dict[int, str]:
    """Read Mistral's format: special tokens first, then the vocabulary, cut to the size that is used.

    Special ids that the file only reserves (`<SPECIAL_20>`) are left out: they mean nothing, and a file of a few bytes
    could ask for any number of them.

    Source: mistral-common, `Tekkenizer.__init__`.
    """
    document = load_object(raw, file, TokenizerMalformed)
    config = document.get("config")
    first, size = (_field(config, key, file) for key in ("default_num_special_tokens", "default_vocab_size"))
    if not isinstance(first, int) or not isinstance(size, int):
        raise _malformed(file, "default_num_special_tokens and default_vocab_size as numbers", [first, size])
    special = _pairs(document.get("special_tokens") or [], "token_str", "rank", file)
    tokens = _by_id(_pairs(document.get("vocab"), "token_bytes", "rank", file), file)
    used = _from_base64({first + rank: token for rank, token in tokens.items() if first + rank < size}, file)
    return _by_id((*special, *((token, id_) for id_, token in used.items())), file)


def read_vocab_json(raw: bytes, file: str) -> dict[int, str]:
    """Read {token: id}."""
    return _by_id(load_object(raw, file, TokenizerMalformed).items(), file)


def read_added_tokens_decoder(raw: bytes, file: str) -> dict[int, str]:
    """Read what `tokenizer_config.json` says of added tokens: {"added_tokens_decoder": {id: {"content": token}}}."""
    stated = load_object(raw, file, TokenizerMalformed).get("added_tokens_decoder") or {}
    if not isinstance(stated, dict):
        raise _malformed(file, "added_tokens_decoder as {id: {content}}", stated)
    return _by_id(((_field(entry, "content", file), _as_id(key)) for key, entry in stated.items()), file)


def read_vocab_txt(raw: bytes, file: str) -> dict[int, str]:
    """Read one token a line. Bytes split where Python's text files do: LF, CR LF, CR."""
    try:
        return {id_: line.decode("utf-8") for id_, line in enumerate(raw.splitlines())}
    except UnicodeDecodeError as error:
        raise _malformed(file, "tokens in UTF-8", error.object) from error


def read_model(raw: bytes, file: str) -> dict[int, str]:
    """Read `tokenizer.model`, which is sentencepiece's in most checkpoints and tiktoken's in some (GLM-4)."""
    return read_tiktoken(raw, file) if _TIKTOKEN_LINE.match(raw) else read_sentencepiece(raw, file)


def read_sentencepiece(raw: bytes, file: str) -> dict[int, str]:
    """Read a sentencepiece model: a piece's id is its place."""
    return dict(enumerate(read_pieces(raw, file)))


def read_fairseq(raw: bytes, file: str) -> dict[int, str]:
    """Read a sentencepiece model of a checkpoint that counts as fairseq: four tokens in place of the first three.

    Source: transformers, `XLMRobertaConverter.vocab`; mBART, NLLB and XGLM do likewise.
    """
    return dict(enumerate((*_FAIRSEQ_TOKENS, *read_pieces(raw, file)[3:])))


def read_tiktoken(raw: bytes, file: str) -> dict[int, str]:
    """Read lines of a token's bytes in base64, a space, its id."""
    pairs = []
    for line in filter(None, raw.splitlines()):
        found = _TIKTOKEN_LINE.fullmatch(line)
        if found is None:
            raise _malformed(file, "lines of base64, a space and an id", line)
        pairs.append((found[1].decode("ascii"), int(found[2])))
    return _from_base64(_by_id(pairs, file), file)


def _unigram_token(entry: object, file: str) -> str:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
        raise _malformed(file, "[token, score] in model.vocab", entry)
    return entry[0]


def _place_added(added: object, vocabulary: dict[int, str], size: int, file: str) -> dict[int, str]:
    """Give added tokens the ids that they have once the file is loaded, which need not be the ones it states.

    A token that the model has keeps its id there; any other gets the next id after the model's `size` tokens. Only
    where the model leaves ids out does the library not always count so: there the stated id counts, as it is the one
    the file was written with, and the added token is what it means even where the model uses it too.

    Source: `AddedVocabulary::add_tokens` and `simple_id_to_token`, tried with tokenizers 0.13 to 0.23.
    """
    ids = {token: id_ for id_, token in vocabulary.items()}
    is_dense = max(vocabulary, default=-1) < size
    placed: dict[int, str] = {}
    next_id = size
    for token, stated in _pairs(added, "content", "id", file):
        if not isinstance(token, str) or not _is_id(stated):
            raise _malformed(file, "text and an id in each of added_tokens", [token, stated])
        if not token:
            continue  # as the library does
        if token not in ids:
            ids[token] = next_id if is_dense else stated
            next_id += 1
        if placed.setdefault(ids[token], token) != token:
            raise _malformed(file, f"one added token with id {ids[token]}", [placed[ids[token]], token])
    return placed


def _by_id(tokens: Iterable[tuple[object, object]], file: str) -> dict[int, str]:
    """Turn (token, id) into id → token, having checked both."""
    vocabulary: dict[int, str] = {}
    for token, id_ in tokens:
        if not isinstance(token, str) or not _is_id(id_):
            raise _malformed(file, f"text with an id of 0 to {_MAX_ID} for each token", [token, id_])
        if vocabulary.setdefault(id_, token) != token:
            raise _malformed(file, f"one token with id {id_}", [vocabulary[id_], token])
    return vocabulary


def _is_id(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_ID


def _pairs(entries: object, token: str, id_: str, file: str) -> list[tuple[object, object]]:
    if not isinstance(entries, list):
        raise _malformed(file, f"a list of objects with {token} and {id_}", entries)
    return [(_field(entry, token, file), _field(entry, id_, file)) for entry in entries]


def _field(entry: object, key: str, file: str) -> object:
    if not isinstance(entry, dict) or key not in entry:
        raise _malformed(file, f"an object with {key}", entry)
    return entry[key]


def _as_id(key: str) -> object:
    return int(key) if key.isascii() and key.isdecimal() and len(key) <= 10 else key


def _from_base64(tokens: dict[int, str], file: str) -> dict[int, str]:
    """Turn tokens that are bytes in base64 into the byte-level alphabet."""
    try:
        return {
            id_: binascii.a2b_base64(token, strict_mode=True).decode("latin-1").translate(_BYTE_LEVEL)
            for id_, token in tokens.items()
        }
    except ValueError as error:  # not ASCII, or not base64
        raise _malformed(file, "tokens in base64", str(error)) from error


def _byte_level() -> dict[int, str]:
    """Give every byte a character: its own where that can be seen, the others in order from U+0100.

    Source: openai/gpt-2, `encoder.py`, `bytes_to_unicode`.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(0x100) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(0x100 + place) for place, byte in enumerate(others)}


_BYTE_LEVEL: Final = _byte_level()


def _malformed(file: str, expected: str, found: object) -> TokenizerMalformed:
    return TokenizerMalformed(f"{file}: {expected} expected, found {shown(found)}; copy or export it again", file=file)
