"""Bytes that are not those whose checksum the store keeps are noticed, where all of a file was read."""

import pytest

from crossfade_core.errors import SourceCorrupted, SourceUnavailable
from tests.fakes.http_faults import Status, WrongBytes
from tests.registries.s3_reading.models import CONFIG, CONTENT, LARGE, SHARD, URI, read, read_through

KEPT = ["CRC64NVME", "CRC32C", "CRC32"]


def heads(model):
    return [each for each in model.proxy.traffic.requests if each.method == "HEAD"]


@pytest.mark.parametrize("kept", KEPT)
def test_wrong_byte_anywhere_in_a_pass_is_noticed(model, kept):
    model.put(SHARD, LARGE, ChecksumAlgorithm=kept)
    with model.opened() as source:
        assert read_through(source) == LARGE
    assert len(heads(model)) == 1
    for request in range(4):
        model.proxy.fail(WrongBytes(1_000), method="GET", path_contains=SHARD, skip=request)
        with model.opened() as source:
            with pytest.raises(SourceCorrupted, match=rf"^{URI}/{SHARD}: what came has the {kept} .*, the store st"):
                read_through(source)
            with pytest.raises(SourceCorrupted):
                read(source, SHARD, 0, 8)


def test_wrong_byte_in_a_small_file_is_noticed(model):
    model.put("config.json", CONFIG, ChecksumAlgorithm="CRC64NVME")
    model.proxy.fail(WrongBytes(3), method="GET", path_contains="config.json")
    with model.opened() as source, pytest.raises(SourceCorrupted) as caught:
        read(source, "config.json")
    assert caught.value.retryable


def test_checksum_of_an_object_uploaded_in_parts_is_the_whole_objects(model):
    key = {"Bucket": model.bucket, "Key": f"llama/{SHARD}"}
    kind = {"ChecksumAlgorithm": "CRC64NVME"}
    upload = model.direct.create_multipart_upload(**key, **kind, ChecksumType="FULL_OBJECT")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(LARGE), 6 << 20), 1):
        body = LARGE[start : start + (6 << 20)]
        done = model.direct.upload_part(**key, **kind, UploadId=upload, PartNumber=number, Body=body)
        parts.append({field: done[field] for field in ("ETag", "ChecksumCRC64NVME")} | {"PartNumber": number})
    model.direct.complete_multipart_upload(**key, UploadId=upload, MultipartUpload={"Parts": parts})
    with model.opened() as source:
        assert read_through(source) == LARGE
    assert len(heads(model)) == 1
    model.proxy.fail(WrongBytes(5), method="GET", path_contains=SHARD)
    with model.opened() as source, pytest.raises(SourceCorrupted, match="CRC64NVME"):
        read_through(source)


@pytest.mark.parametrize(
    "stated",
    [
        {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA=", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-crc32c": "AAAAAA==-3"},
        {"x-amz-checksum-sha256": "AAAA"},
        {},
    ],
)
def test_checksums_of_parts_and_of_other_kinds_are_no_ground_for_doubt(model, stated):
    model.put("config.json", CONFIG, ChecksumAlgorithm="CRC64NVME")
    model.proxy.fail(Status(200, stated), method="HEAD")
    with model.opened() as source:
        assert read(source, "config.json") == CONFIG


def test_checksum_in_an_answer_to_a_range_is_not_held_against_the_range(model):
    model.put(SHARD, CONTENT, ChecksumAlgorithm="CRC64NVME")
    headers = {"Content-Range": f"bytes 0-7/{len(CONTENT)}", "x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}
    with model.opened() as source:
        source.expect([(SHARD, 8, 9)])
        model.proxy.fail(Status(206, headers, CONTENT[:8]), method="GET", path_contains=SHARD)
        assert read(source, SHARD, 0, 8) == CONTENT[:8]


def test_file_read_in_part_costs_no_request_more(model):
    model.put(SHARD, CONTENT, ChecksumAlgorithm="CRC64NVME")
    with model.opened() as source:
        read(source, SHARD, 0, 100_000)
        read(source, SHARD, 50_000, len(CONTENT))
    assert heads(model) == []


def test_checksum_that_cannot_be_asked_for_is_an_error_and_not_a_pass(model):
    model.put("config.json", CONFIG, ChecksumAlgorithm="CRC64NVME")
    model.proxy.fail(Status(500), method="HEAD", times=None)
    with model.opened() as source, pytest.raises(SourceUnavailable, match=r"config\.json"):
        read(source, "config.json")
