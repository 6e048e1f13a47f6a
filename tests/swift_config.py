"""The configuration of a whole OpenStack Swift in one folder: one disk, one replica, four servers, S3 at the proxy.

Source: https://docs.openstack.org/swift/latest/config/index.html; for the filter `s3api`,
https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.s3api.s3api
"""

import os
import pwd
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STORAGE_SERVERS = ("account", "container", "object")
REGION = "us-east-1"
_MOST_PARTS = 10_000  # as on S3 itself; Swift allows 1000 unless told
_BLOCK_BYTES = 1 << 20  # the default of 64 KiB makes aws-chunked bodies a third slower
_PATIENCE = "conn_timeout = 30\nnode_timeout = 60\n"
"""Seconds. An update of a listing that a busy machine delays is put off, by default after one, and nothing here would
ever make good for it: the object would be there and not be listed."""

_PIPELINE = "catch_errors listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink"

_BUILD_RINGS = """
import sys
from swift.common.ring import RingBuilder
for word in sys.argv[2:]:
    name, port = word.split(":")
    builder = RingBuilder(6, 1, 1)
    builder.add_dev(dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="disk", weight=1))
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""


@dataclass(frozen=True)
class SwiftUser:
    """Someone who may sign requests: an administrator of an account, who may do everything in it, or nobody there."""

    account: str
    name: str
    secret_key: str
    is_admin: bool = True

    @property
    def access_key(self) -> str:
        return f"{self.account}:{self.name}"


def write_config(folder: Path, ports: Mapping[str, int], users: tuple[SwiftUser, ...], programs: Path) -> None:
    """Write every server's configuration and the rings, and make the folders they expect.

    Args:
        folder: Where everything goes, the objects too.
        ports: A port for each of the storage servers and for `proxy`.
        users: Who may sign.
        programs: The folder of Swift's own Python.
    """
    for name in ("etc", "disks/disk", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    etc = folder / "etc"
    files = {f"{server}.conf": _storage_config(folder, server, ports[server]) for server in STORAGE_SERVERS}
    files["proxy.conf"] = _proxy_config(folder, ports["proxy"], users)
    files["swift.conf"] = (
        "[swift-hash]\nswift_hash_path_prefix = p\nswift_hash_path_suffix = s\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
    )
    for name, text in files.items():
        (etc / name).write_text(text)
    rings = [f"{server}:{ports[server]}" for server in STORAGE_SERVERS]
    subprocess.run([str(programs / "python"), "-c", _BUILD_RINGS, str(etc), *rings], check=True)


def _storage_config(folder: Path, server: str, port: int) -> str:
    return (
        f"{_defaults(folder, port)}"
        f"devices = {folder / 'disks'}\nmount_check = false\nfallocate_reserve = 0\n"
        f"recon_cache_path = {folder / 'cache'}\n"
        f"[pipeline:main]\npipeline = {server}-server\n"
        f"[app:{server}-server]\nuse = egg:swift#{server}\nallow_open_expired = true\n"
        f"disk_chunk_size = {_BLOCK_BYTES}\nnetwork_chunk_size = {_BLOCK_BYTES}\n"
        f"{_PATIENCE}container_update_timeout = 60\n"
    )


def _proxy_config(folder: Path, port: int, users: tuple[SwiftUser, ...]) -> str:
    options = {
        # Without s3_acl an account's administrators may do everything, its other users nothing.
        "s3api": f"location = {REGION}\ns3_acl = false\nmax_upload_part_num = {_MOST_PARTS}\n",
        "tempauth": "".join(
            f"user_{user.account}_{user.name} = {user.secret_key}{' .admin' * user.is_admin}\n" for user in users
        ),
        "slo": f"max_manifest_segments = {_MOST_PARTS}\n",
        "versioned_writes": "allow_object_versioning = true\n",
    }
    filters = [f"[filter:{name}]\nuse = egg:swift#{name}\n{options.get(name, '')}" for name in _PIPELINE.split()]
    return (
        f"{_defaults(folder, port)}"
        f"[pipeline:main]\npipeline = {_PIPELINE} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        f"client_chunk_size = {_BLOCK_BYTES}\nobject_chunk_size = {_BLOCK_BYTES}\n{_PATIENCE}"
        f"{''.join(filters)}"
    )


def _defaults(folder: Path, port: int) -> str:
    user = pwd.getpwuid(os.geteuid()).pw_name  # Swift takes on the user `swift` unless told
    return (
        "[DEFAULT]\nbind_ip = 127.0.0.1\n"
        f"bind_port = {port}\nworkers = 0\nuser = {user}\nswift_dir = {folder / 'etc'}\nlog_level = WARNING\n"
    )
