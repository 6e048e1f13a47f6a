"""Each way a safetensors file can be malformed has an error of its own, which names the file and the tensor."""

import json
import struct

import pytest

from crossfade_core.checkpoint import DTYPE_BITS, MAX_HEADER_BYTES, header_length, parse_header
from crossfade_core.errors import (
    BadOffset,
    DataTruncated,
    DuplicateKey,
    HeaderMalformed,
    HeaderTooLarge,
    HeaderTruncated,
    ShapeMismatch,
    TensorHole,
    TensorOverlap,
    TrailingData,
    UnknownDtype,
)
from tests.fakes.checkpoints import encode_file

FILE = "model-00002-of-00003.safetensors"
GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def parse(header, data_bytes=8):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return parse_header(raw, FILE, 8 + len(raw) + data_bytes)


def refused(error, header, data_bytes=8, tensor="w"):
    with pytest.raises(error) as caught:
        parse(header, data_bytes)
    assert type(caught.value) is error
    assert FILE in caught.value.message
    assert caught.value.details["file"] == FILE
    if tensor:
        assert tensor in caught.value.message
        assert caught.value.details["tensor"] == tensor
    return caught.value


def length_refused(error, prefix, size_bytes):
    with pytest.raises(error) as caught:
        header_length(prefix, FILE, size_bytes)
    assert FILE in caught.value.message
    assert caught.value.details == {"file": FILE}
    return caught.value


def test_header_of_a_well_formed_file_is_read():
    raw = encode_file({"a": ("BF16", (2, 3), bytes(12)), "b": ("U8", (), b"\x07")})
    length = header_length(raw[:8], FILE, len(raw))
    header = parse_header(raw[8 : 8 + length], FILE, len(raw))
    assert [(t.name, t.dtype, t.shape) for t in header.tensors] == [("a", "BF16", (2, 3)), ("b", "U8", ())]
    assert header.data_start == header.tensors[0].start == 8 + length
    assert header.tensors[0].end == header.tensors[1].start
    assert header.tensors[1].end == header.size_bytes == len(raw)


def test_tensors_come_in_the_order_of_their_bytes_not_of_the_json():
    header = parse({"late": {**GOOD, "data_offsets": [8, 16]}, "early": GOOD}, 16)
    assert [tensor.name for tensor in header.tensors] == ["early", "late"]


def test_file_without_tensors_is_a_layout():
    assert parse({"__metadata__": {"format": "pt"}}, 0).tensors == ()


def test_trailing_spaces_are_padding():
    assert parse(json.dumps({"w": GOOD}).encode() + b"  \x20").tensors[0].name == "w"


def test_zero_size_tensors_may_lie_anywhere_between_others():
    empty = {"dtype": "F32", "shape": [0, 5]}
    places = {"first": [0, 0], "between": [8, 8], "last": [16, 16]}
    header = {name: {**empty, "data_offsets": place} for name, place in places.items()}
    parsed = parse({"w": GOOD, "v": {**GOOD, "data_offsets": [8, 16]}, **header}, 16)
    assert {tensor.name for tensor in parsed.tensors} == {"first", "between", "last", "w", "v"}


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_of_the_format_is_known(dtype):
    parsed = parse({"w": {"dtype": dtype, "shape": [8], "data_offsets": [0, DTYPE_BITS[dtype]]}}, DTYPE_BITS[dtype])
    assert parsed.tensors[0].dtype == dtype


def test_header_over_100_mb_is_refused_from_its_first_8_bytes():
    length_refused(HeaderTooLarge, struct.pack("<Q", MAX_HEADER_BYTES + 1), 2**40)
    length_refused(HeaderTooLarge, b"\xff" * 8, 2**40)


def test_header_of_exactly_100_mb_is_allowed():
    assert header_length(struct.pack("<Q", MAX_HEADER_BYTES), FILE, 8 + MAX_HEADER_BYTES) == MAX_HEADER_BYTES


@pytest.mark.parametrize("size_bytes", range(8))
def test_file_too_short_for_its_length_prefix_is_refused(size_bytes):
    length_refused(HeaderTruncated, bytes(size_bytes), size_bytes)


def test_header_that_the_file_ends_within_is_refused():
    length_refused(HeaderTruncated, struct.pack("<Q", 100), 107)
    assert header_length(struct.pack("<Q", 100), FILE, 108) == 100


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"w"',
        b"{}{}",
        b' {"__metadata__": {}}',
        b'{"w": \xff}',
        b'\xef\xbb\xbf{"__metadata__": {}}',
        b'{"w": ' * 100_000,
        b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"w": ' + b"9" * 5000 + b"}",
        b'{"w": NaN}',
        b'{"w": -Infinity}',
        b'{"w\n": 1}',
    ],
    ids=[
        "empty",
        "cut off",
        "null",
        "array",
        "text",
        "two documents",
        "leading space",
        "not UTF-8",
        "byte order mark",
        "deep and cut off",
        "deep",
        "huge integer",
        "NaN",
        "Infinity",
        "raw control character",
    ],
)
def test_header_that_is_no_json_object_is_refused(raw):
    refused(HeaderMalformed, raw, tensor=None)


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_constants_that_json_does_not_have_are_refused_inside_a_tensor(constant):
    raw = b'{"w":{"dtype":"F32","shape":[' + constant + b'],"data_offsets":[0,8]}}'
    assert f"{constant.decode()} is no JSON" in refused(HeaderMalformed, raw, tensor=None).message


@pytest.mark.parametrize("metadata", [None, [], "pt", {"format": 1}, {"format": None}, {"nested": {}}])
def test_metadata_that_is_not_text_to_text_is_refused(metadata):
    refused(HeaderMalformed, {"__metadata__": metadata, "w": GOOD}, tensor=None)


@pytest.mark.parametrize("fields", [None, [], 5, "F32", {}, {"dtype": "F32"}, {**GOOD, "extra": 1}])
def test_tensor_without_exactly_its_three_fields_is_refused(fields):
    refused(HeaderMalformed, {"w": fields})


@pytest.mark.parametrize("shape", [None, 2, "2", {}, [-1], [2.0], [True], ["2"], [[2]], [2**63], [None], [1] * 65])
def test_shape_that_is_no_list_of_sizes_is_refused(shape):
    refused(HeaderMalformed, {"w": {**GOOD, "shape": shape}})


@pytest.mark.parametrize("name", ["a\x00b", "a\x1b[31m", "a\ud800", "a\nb", "n" * 1025])
def test_name_that_a_terminal_or_database_cannot_carry_is_refused(name):
    error = refused(HeaderMalformed, {name: GOOD}, tensor=None)
    error.message.encode()
    assert error.message.isprintable()
    assert len(error.message) < 500


def test_long_or_foreign_names_are_fine():
    names = ["n" * 1024, "模型.重み", "a b"]
    header = {name: {**GOOD, "data_offsets": [8 * at, 8 * at + 8]} for at, name in enumerate(names)}
    assert [tensor.name for tensor in parse(header, 24).tensors] == names


@pytest.mark.parametrize("dtype", ["BF17", "f32", "", "F32 ", 16, None, ["F32"], {}])
def test_unknown_dtype_is_refused(dtype):
    refused(UnknownDtype, {"w": {**GOOD, "dtype": dtype}})


@pytest.mark.parametrize(
    "offsets",
    [None, 0, [], [0], [0, 8, 16], [8, 0], [-8, 0], [0.0, 8.0], [False, True], ["0", "8"], [0, 2**63], {"0": 8}],
)
def test_bad_offsets_are_refused(offsets):
    refused(BadOffset, {"w": {**GOOD, "data_offsets": offsets}})


@pytest.mark.parametrize(
    ("dtype", "shape", "end"),
    [
        ("F32", [3], 8),
        ("F32", [], 8),
        ("F64", [2], 8),
        ("F32", [0], 8),
        ("F32", [2], 0),
        ("F4", [3], 2),
        ("F32", [2**62] * 64, 8),
        ("F32", [2**62, 2**62, 0], 8),
    ],
)
def test_shape_that_does_not_fill_its_offsets_is_refused(dtype, shape, end):
    refused(ShapeMismatch, {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}})


def test_shape_too_large_for_floating_point_is_refused_and_not_a_crash():
    raw = b'{"w":{"dtype":"F32","shape":[1' + b"0" * 400 + b'],"data_offsets":[0,8]}}'
    refused(HeaderMalformed, raw)


def test_endless_shape_is_refused_without_multiplying_it_out():
    refused(HeaderMalformed, {"w": {**GOOD, "shape": [2] * 1_000_000}})


def test_message_stays_short_however_long_the_malformed_part_is():
    for field, error in (("dtype", UnknownDtype), ("shape", HeaderMalformed), ("data_offsets", BadOffset)):
        for junk in ("x" * 10**6, [1.5] * 10**5, {"k" * 10**5: ["v" * 10**5] * 3}):
            assert len(refused(error, {"w": {**GOOD, field: junk}}).message) < 2000


def test_duplicate_tensor_is_refused():
    raw = b'{"w": %b, "w": %b}' % ((json.dumps(GOOD).encode(),) * 2)
    assert "'w'" in refused(DuplicateKey, raw, tensor=None).message


def test_duplicate_field_of_a_tensor_is_refused():
    raw = b'{"w": {"dtype": "F32", "dtype": "F16", "shape": [2], "data_offsets": [0, 8]}}'
    assert "'dtype'" in refused(DuplicateKey, raw, tensor=None).message


def test_duplicate_metadata_is_refused():
    refused(DuplicateKey, b'{"__metadata__": {}, "__metadata__": {}}', 0, tensor=None)


def test_duplicate_key_spelled_with_escapes_is_refused():
    refused(DuplicateKey, b'{"w": %b, "\\u0077": %b}' % ((json.dumps(GOOD).encode(),) * 2), tensor=None)


@pytest.mark.parametrize("other", [[0, 8], [4, 12], [0, 4]])
def test_overlapping_tensors_are_refused(other):
    shape = [(other[1] - other[0]) // 4]
    with pytest.raises(TensorOverlap, match=FILE) as caught:
        parse({"v": GOOD, "w": {"dtype": "F32", "shape": shape, "data_offsets": other}}, max(8, other[1]))
    assert caught.value.details["tensor"] in ("v", "w")


def test_hole_between_tensors_is_refused():
    refused(TensorHole, {"v": GOOD, "w": {**GOOD, "data_offsets": [12, 20]}}, 20)


def test_hole_before_the_first_tensor_is_refused():
    refused(TensorHole, {"w": {**GOOD, "data_offsets": [4, 12]}}, 12)


@pytest.mark.parametrize("data_bytes", [0, 1, 7])
def test_file_that_ends_within_a_tensor_is_refused(data_bytes):
    refused(DataTruncated, {"w": GOOD}, data_bytes)


def test_truncated_file_names_the_first_tensor_that_is_cut():
    header = {name: {**GOOD, "data_offsets": [8 * at, 8 * at + 8]} for at, name in enumerate("uvwx")}
    refused(DataTruncated, header, 20)


def test_bytes_after_the_last_tensor_are_refused():
    refused(TrailingData, {"w": GOOD}, 9, tensor=None)
    refused(TrailingData, {}, 1, tensor=None)
