"""Read the pieces of a sentencepiece model: as much protobuf as that takes, and nothing else of the file.

Source: google/sentencepiece, `sentencepiece_model.proto`; https://protobuf.dev/programming-guides/encoding. Time and
memory stay in proportion to the bytes, whatever lengths they announce.
"""

from collections.abc import Iterator
from typing import Final

from crossfade_core.errors import TokenizerMalformed
from crossfade_core.untrusted_json import shown

_FIRST_FIELD: Final = (1 << 3) | 2
"""Tag of field 1, length-delimited: `ModelProto.pieces`, and in each of them `SentencePiece.piece`."""
_FIXED_BYTES: Final = {1: 8, 5: 4}
"""Wire types of fixed width; 3 and 4 are groups, which this format has none of."""
_MAX_VARINT_BYTES: Final = 10


def read_pieces(raw: bytes, file: str) -> list[str]:
    """Return every piece in the order of its ids.

    Raises:
        TokenizerMalformed: Not a protobuf message, without pieces, or with a piece that is empty or not UTF-8.
    """
    pieces = [_piece(raw, start, end, file) for start, end in _first_fields(raw, 0, len(raw), file)]
    if not pieces:
        raise _malformed(file, "pieces", raw, 0)
    return pieces


def _piece(raw: bytes, start: int, end: int, file: str) -> str:
    text = b""
    for text_start, text_end in _first_fields(raw, start, end, file):
        text = raw[text_start:text_end]  # the last one counts, as protobuf has it
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        decoded = ""
    if not decoded:
        raise _malformed(file, "a piece of UTF-8 text", raw, start)
    return decoded


def _first_fields(raw: bytes, start: int, end: int, file: str) -> Iterator[tuple[int, int]]:
    """Yield where the content of every field 1 of one message lies; any other field is stepped over."""
    position = start
    while position < end:
        tag, position = _varint(raw, position, file)
        length, position = _content(raw, position, tag & 7, file)
        if length > end - position:
            raise _malformed(file, f"{length} more bytes", raw, position)
        if tag == _FIRST_FIELD:
            yield position, position + length
        position += length


def _content(raw: bytes, position: int, wire_type: int, file: str) -> tuple[int, int]:
    """Return how many bytes a field's content has left, and where they begin; a number's has none once it is read."""
    if wire_type == 2:
        return _varint(raw, position, file)
    if wire_type == 0:
        return 0, _varint(raw, position, file)[1]
    if wire_type in _FIXED_BYTES:
        return _FIXED_BYTES[wire_type], position
    raise _malformed(file, "a protobuf field", raw, position)


def _varint(raw: bytes, position: int, file: str) -> tuple[int, int]:
    """Return a base-128 number, low digits first, and where it ends."""
    value = 0
    for count, byte in enumerate(raw[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, position + count + 1
    raise _malformed(file, "a protobuf number", raw, position)


def _malformed(file: str, expected: str, raw: bytes, position: int) -> TokenizerMalformed:
    found = shown(raw[position : position + 16])
    return TokenizerMalformed(
        f"{file}: as a sentencepiece model it must have {expected} at byte {position} of {len(raw)}, found {found}; "
        "copy or export it again",
        file=file,
    )
