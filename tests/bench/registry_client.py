"""What one does without a service: fetch both parents, and later send the outputs, by the registry's own client.

The process behind two of the three steps of the other contestant; it prints the seconds that the client took, without
those of starting Python. As parallel as each client can be told to be. Usage, with the registry's own variables in the
environment (`HF_ENDPOINT`, `AWS_ENDPOINT_URL`):

    python -m tests.bench.registry_client hub NAMESPACE fetch FOLDER NAME...
    python -m tests.bench.registry_client s3 BUCKET send FOLDER NAME...
"""

import functools
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

Call = Callable[[], object]

_AT_ONCE: Final = 8
"""Files, and on S3 parts of a file."""
_PART_BYTES: Final = 8 << 20


def fetch_from_hub(namespace: str, folder: Path, names: Sequence[str]) -> list[Call]:
    """Return one call for each checkpoint."""
    from huggingface_hub import snapshot_download

    return [
        functools.partial(snapshot_download, f"{namespace}/{name}", local_dir=folder / name, max_workers=_AT_ONCE)
        for name in names
    ]


def send_to_hub(namespace: str, folder: Path, names: Sequence[str]) -> list[Call]:
    """Return one call for each output; all make repositories of their own."""
    from huggingface_hub import HfApi

    api = HfApi()

    def send(name: str) -> None:
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder / name)

    return [functools.partial(send, name) for name in names]


def fetch_from_s3(bucket: str, folder: Path, names: Sequence[str]) -> list[Call]:
    """Return one call for each file."""
    client, config = _s3()
    calls = []
    for name in names:
        (folder / name).mkdir(parents=True)
        for entry in client.list_objects_v2(Bucket=bucket, Prefix=f"{name}/")["Contents"]:
            target = str(folder / entry["Key"])
            calls.append(functools.partial(client.download_file, bucket, entry["Key"], target, Config=config))
    return calls


def send_to_s3(bucket: str, folder: Path, names: Sequence[str]) -> list[Call]:
    """Return one call for each file."""
    client, config = _s3()
    return [
        functools.partial(client.upload_file, str(file), bucket, f"{name}/{file.name}", Config=config)
        for name in names
        for file in (folder / name).iterdir()
    ]


def _s3():
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    plain = "when_required"  # Swift knows no other checksum than MD5
    config = Config(
        s3={"addressing_style": "path"},
        max_pool_connections=_AT_ONCE**2,
        request_checksum_calculation=plain,
        response_checksum_validation=plain,
    )
    transfers = TransferConfig(
        max_concurrency=_AT_ONCE, multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES
    )
    return boto3.client("s3", config=config), transfers


_CALLS: Final = {
    ("hub", "fetch"): fetch_from_hub,
    ("hub", "send"): send_to_hub,
    ("s3", "fetch"): fetch_from_s3,
    ("s3", "send"): send_to_s3,
}


def main() -> None:
    """Do all of it at once, print the seconds."""
    kind, place, what, folder, *names = sys.argv[1:]
    started = time.monotonic()
    calls = _CALLS[kind, what](place, Path(folder), names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
    print(time.monotonic() - started)


if __name__ == "__main__":
    main()
