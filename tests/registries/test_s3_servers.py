"""The S3 servers of the tests are what the tests take them for."""

import base64
import contextlib
import dataclasses
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from types_boto3_s3 import S3Client

from tests.fakes.http_faults import WrongBytes
from tests.fakes.http_proxy import HttpProxy
from tests.s3_servers import MotoServer, S3Server, SwiftServer, moto_server, swift_server

BODY = os.urandom(100_000)
LARGE = os.urandom(5 * 2**20)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    with swift_server(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(params=["moto", "swift"])
def server(request: pytest.FixtureRequest) -> S3Server:
    return request.getfixturevalue(request.param)


@contextlib.contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(ClientError) as refusal:
        yield
    assert refusal.value.response["Error"]["Code"] == code


def uploaded_part(client: S3Client, bucket: str, key: str, body: bytes) -> tuple[str, str]:
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    part = client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=1, Body=body)
    return upload_id, part["ETag"]


def test_what_is_put_comes_back_by_ranges_pinned_to_its_etag(server: S3Server) -> None:
    bucket = server.new_bucket()
    with contextlib.closing(server.client()) as client:
        etag = client.put_object(Bucket=bucket, Key="a b/λ~1", Body=BODY)["ETag"]
        answer = client.get_object(Bucket=bucket, Key="a b/λ~1", Range="bytes=7-99", IfMatch=etag)
        assert answer["Body"].read() == BODY[7:100]
        client.put_object(Bucket=bucket, Key="a b/λ~1", Body=BODY[::-1])
        with refused("PreconditionFailed"):
            client.get_object(Bucket=bucket, Key="a b/λ~1", Range="bytes=7-99", IfMatch=etag)


def test_an_upload_in_parts_is_seen_only_once_complete(server: S3Server) -> None:
    bucket = server.new_bucket()
    with contextlib.closing(server.client()) as client:
        upload_id, etag = uploaded_part(client, bucket, "a", LARGE)
        assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        client.complete_multipart_upload(Bucket=bucket, Key="a", UploadId=upload_id, MultipartUpload=parts)
        assert [found["Size"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]] == [len(LARGE)]


def test_what_exists_is_not_put_again_where_the_request_says_so(server: S3Server) -> None:
    bucket = server.new_bucket()
    with contextlib.closing(server.client()) as client:
        client.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch="*")
        upload_id, etag = uploaded_part(client, bucket, "a", LARGE)
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        with refused("PreconditionFailed"):
            client.put_object(Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*")
        with refused("PreconditionFailed"):
            client.complete_multipart_upload(
                Bucket=bucket, Key="a", UploadId=upload_id, MultipartUpload=parts, IfNoneMatch="*"
            )
        assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"


def test_moto_forgets_on_request(moto: MotoServer) -> None:
    moto.new_bucket()
    moto.reset()
    with contextlib.closing(moto.client()) as client:
        assert client.list_buckets()["Buckets"] == []


def test_swift_refuses_a_wrong_signature(swift: SwiftServer) -> None:
    bucket = swift.new_bucket()
    with contextlib.closing(dataclasses.replace(swift, secret_key="wrong").client()) as client:
        with refused("SignatureDoesNotMatch"):
            client.list_objects_v2(Bucket=bucket)
        with refused("SignatureDoesNotMatch"):
            client.put_object(Bucket=bucket, Key="a", Body=LARGE)


def test_swift_refuses_a_user_without_rights(swift: SwiftServer) -> None:
    bucket = swift.new_bucket()
    with contextlib.closing(swift.for_stranger.client()) as client:
        with refused("AccessDenied"):
            client.list_objects_v2(Bucket=bucket)
        with refused("AccessDenied"):
            client.put_object(Bucket=bucket, Key="a", Body=BODY)


def test_swift_refuses_a_byte_that_changed_on_the_way(swift: SwiftServer) -> None:
    bucket = swift.new_bucket()
    sums = {"ContentMD5": base64.b64encode(hashlib.md5(BODY).digest()).decode()}
    unsigned = {"addressing_style": "path", "payload_signing_enabled": False}
    with HttpProxy(swift.endpoint_url) as proxy:
        behind = dataclasses.replace(swift, endpoint_url=proxy.url)
        for options, extra, code in (({}, {}, "XAmzContentSHA256Mismatch"), ({"s3": unsigned}, sums, "BadDigest")):
            with contextlib.closing(behind.client(**options)) as client:
                proxy.fail(WrongBytes(5))
                with refused(code):
                    client.put_object(Bucket=bucket, Key="a", Body=BODY, **extra)
                client.put_object(Bucket=bucket, Key="a", Body=BODY, **extra)


def test_swift_keeps_objects_on_disk(swift: SwiftServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    bucket = swift.new_bucket()
    with contextlib.closing(swift.client()) as client:
        client.put_object(Bucket=bucket, Key="a", Body=LARGE)
    files = tmp_path_factory.getbasetemp().rglob("*.data")
    assert any(file.stat().st_size == len(LARGE) and file.read_bytes() == LARGE for file in files)


def test_a_server_is_gone_after_its_block_even_when_that_failed(tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), moto_server(tmp_path) as server:
        raise ZeroDivisionError
    address = urlsplit(server.endpoint_url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port)).close()
    assert threading.active_count() <= threads
