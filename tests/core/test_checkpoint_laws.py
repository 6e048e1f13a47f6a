"""Laws of the header parser, over generated and damaged files; the safetensors library is the oracle for valid ones."""

import contextlib
import json
import math
import struct

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.checkpoint import DTYPE_BITS, LENGTH_BYTES, header_length, parse_header
from crossfade_core.errors import CheckpointError
from tests.fakes.checkpoints import encode_file, random_pair

FILE = "model.safetensors"
WHOLE_BYTE_DTYPES = sorted(dtype for dtype, bits in DTYPE_BITS.items() if bits % 8 == 0)

names = st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable() and name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def tensors(draw):
    dtype, shape = draw(st.sampled_from(WHOLE_BYTE_DTYPES)), draw(shapes)
    return dtype, shape, bytes(math.prod(shape) * DTYPE_BITS[dtype] // 8)


files = st.dictionaries(names, tensors(), max_size=6)


def parse_file(raw):
    """Parse as a reader of files does: the 8-byte prefix, then exactly the header it announces."""
    length = header_length(raw[:LENGTH_BYTES], FILE, len(raw))
    return parse_header(raw[LENGTH_BYTES : LENGTH_BYTES + length], FILE, len(raw))


def assert_covers_the_file_exactly(header, size_bytes):
    position = header.data_start
    for tensor in header.tensors:
        assert tensor.start == position
        assert (tensor.end - tensor.start) * 8 == math.prod(tensor.shape) * DTYPE_BITS[tensor.dtype]
        position = tensor.end
    assert position == size_bytes == header.size_bytes


def assert_sound_or_refused(raw):
    try:
        header = parse_file(raw)
    except CheckpointError as error:
        assert_can_be_sent(error)
    else:
        assert_covers_the_file_exactly(header, len(raw))


def assert_can_be_sent(error):
    assert error.message.startswith(FILE)
    json.dumps(error.as_record(), ensure_ascii=False).encode()


def as_oracle(raw):
    return {name: (fields["dtype"], tuple(fields["shape"])) for name, fields in safetensors.deserialize(raw)}


@given(files)
def test_every_file_our_writer_makes_parses_back(content):
    raw = encode_file(content)
    header = parse_file(raw)
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in header.tensors} == {
        name: (dtype, shape) for name, (dtype, shape, _) in content.items()
    }
    assert_covers_the_file_exactly(header, len(raw))


@given(files)
def test_layout_of_a_valid_file_is_the_one_the_safetensors_library_reads(content):
    raw = encode_file(content)
    parsed = parse_file(raw)
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in parsed.tensors} == as_oracle(raw)
    oracle = {name: bytes(fields["data"]) for name, fields in safetensors.deserialize(raw)}
    assert {tensor.name: raw[tensor.start : tensor.end] for tensor in parsed.tensors} == oracle


@given(files, st.data())
def test_one_changed_byte_of_a_header_gives_a_sound_layout_or_a_checkpoint_error(content, data):
    raw = bytearray(encode_file(content))
    header_end = LENGTH_BYTES + struct.unpack("<Q", raw[:LENGTH_BYTES])[0]
    raw[data.draw(st.integers(0, header_end - 1), label="position")] = data.draw(st.integers(0, 255), label="byte")
    assert_sound_or_refused(bytes(raw))


def test_every_single_digit_or_quote_changed_gives_a_sound_layout_or_a_checkpoint_error():
    raw = encode_file({"a": ("BF16", (2, 3), bytes(12)), "b": ("F32", (1,), bytes(4)), "c": ("U8", (0,), b"")})
    header_end = LENGTH_BYTES + struct.unpack("<Q", raw[:LENGTH_BYTES])[0]
    for position in range(header_end):
        for byte in b'\x00"0159-eE.,:[]{}\\ u\x80\xff':
            assert_sound_or_refused(raw[:position] + bytes([byte]) + raw[position + 1 :])


@given(files, st.data())
def test_file_cut_anywhere_is_refused(content, data):
    raw = encode_file(content)
    with pytest.raises(CheckpointError, match=FILE):
        parse_file(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(files, st.binary(min_size=1, max_size=9))
def test_file_with_bytes_added_is_refused(content, junk):
    with pytest.raises(CheckpointError, match=FILE):
        parse_file(encode_file(content) + junk)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_as_a_header_give_a_checkpoint_error_and_nothing_else(junk):
    assert_sound_or_refused(struct.pack("<Q", len(junk)) + junk)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WHOLE_BYTE_DTYPES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"dtype": json_values, "shape": json_values, "data_offsets": json_values}))
def test_any_json_in_a_tensors_fields_gives_a_sound_layout_or_a_checkpoint_error(fields):
    raw = json.dumps({"w": fields}).encode()
    assert_sound_or_refused(struct.pack("<Q", len(raw)) + raw)


@given(files, st.data())
def test_damaged_file_that_is_accepted_still_reads_as_the_safetensors_library_reads_it(content, data):
    raw = bytearray(encode_file(content))
    header_end = LENGTH_BYTES + struct.unpack("<Q", raw[:LENGTH_BYTES])[0]
    raw[data.draw(st.integers(LENGTH_BYTES, header_end - 1))] = data.draw(st.sampled_from(b'01289"[]{},:ab'))
    with contextlib.suppress(CheckpointError):
        parsed = parse_file(bytes(raw))
        assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in parsed.tensors} == as_oracle(bytes(raw))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_every_shard_of_a_pair_on_disk_reads_as_the_safetensors_library_reads_it(tmp_path, dtype):
    for folder in random_pair(tmp_path, base_shards=2, dtype=dtype):
        for path in folder.glob("*.safetensors"):
            raw = path.read_bytes()
            parsed = {tensor.name: (tensor.dtype, tensor.shape) for tensor in parse_file(raw).tensors}
            assert parsed == as_oracle(raw)
