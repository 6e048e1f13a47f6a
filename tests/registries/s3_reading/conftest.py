"""A moto with one model, behind a proxy."""

import contextlib
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from types_boto3_s3 import S3Client

from crossfade_registries.s3.client import open_s3
from crossfade_registries.settings import Credential, S3Access
from tests.fakes.http_proxy import HttpProxy
from tests.registries.s3_reading.models import CONFIG, CONTENT, SHARD, Model
from tests.s3_servers import MotoServer, moto_server


@pytest.fixture(scope="package")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """A store that believes any signature."""
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="package")
def shared_proxy(moto: MotoServer) -> Iterator[HttpProxy]:
    """What stands between the store and the sources."""
    with HttpProxy(moto.endpoint_url) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def client(moto: MotoServer, shared_proxy: HttpProxy) -> Iterator[S3Client]:
    """A client as the service opens it, of the proxy."""
    keys = Credential(access_key_id=moto.access_key, secret_access_key=SecretStr(moto.secret_key))
    access = S3Access(endpoint_url=shared_proxy.url, region=moto.region, path_style=True, credential="team")
    with contextlib.closing(open_s3(access, keys)) as client:
        yield client


@pytest.fixture
def model(moto: MotoServer, shared_proxy: HttpProxy, client: S3Client) -> Iterator[Model]:
    """A model of two files, one of them below the top."""
    with contextlib.closing(moto.client()) as direct:
        model = Model(shared_proxy, client, direct, moto.new_bucket())
        model.put(SHARD, CONTENT)
        model.put("config.json", CONFIG)
        model.put("onnx/model.onnx", b"below the top")
        shared_proxy.clear()
        yield model
        shared_proxy.clear()
        moto.reset()
