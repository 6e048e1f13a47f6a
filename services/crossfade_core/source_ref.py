"""Name a checkpoint by URI: a local folder, keys of an S3 bucket, a Hub repository. Who may read it is not its say."""

import re
from dataclasses import dataclass
from typing import Final

from crossfade_core.json_types import UNSEEN, is_seen

MAX_URI_CHARACTERS: Final = 1200
DEFAULT_REVISION: Final = "main"
FILESYSTEM: Final = "filesystem"
"""Root name of sources given by absolute path: all of the file system, with the rights of the user who runs this."""
FORMS: Final = "local://ROOT/PATH, s3://BUCKET/PREFIX or hf://ORG/NAME@REVISION"

_CONFIGURED = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
_LOCAL = re.compile(rf"local://(?P<root>{_CONFIGURED})/(?P<path>[^\x00\\]{{1,1024}})")
_S3 = re.compile(rf"s3://(?P<bucket>{_CONFIGURED})/(?P<prefix>[^\x00\\]{{1,1024}})")
_REPO = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB = re.compile(rf"hf://(?P<repo>(?:{_REPO}/)?{_REPO})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{{0,254}}))?")
_FOLDER_SCHEMA = (
    rf"(?:local|s3)://{_CONFIGURED}/(?=.{{1,1024}}$)(?!.*//[^/])(?!(?:.*/)?\.{{1,2}}(?:/|$))"
    rf"[^/{UNSEEN}\\][^{UNSEEN}\\]*"
)
_HUB_SCHEMA = (
    rf"hf://(?!.*(?:--|\.\.|//|/\.(?:/|$)|\.git(?:/|@|$)))(?:{_REPO}/)?{_REPO}(?:@[A-Za-z0-9][A-Za-z0-9._/-]{{0,254}})?"
)
SOURCE_PATTERN: Final = f"^(?:{_FOLDER_SCHEMA}|{_HUB_SCHEMA})$"
"""What `parse_source` takes, for JSON Schema."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class LocalRef:
    """`local://ROOT/PATH`, ROOT being a name from the server's configuration."""

    root: str
    path: str

    @property
    def uri(self) -> str:
        """The canonical URI."""
        return f"local://{self.root}/{self.path}"

    @property
    def name(self) -> str:
        """What the model is called in output names."""
        return _last(self.path)

    @property
    def title(self) -> str:
        """What the model is called in model cards."""
        return self.name


@dataclass(frozen=True)
class S3Ref:
    """`s3://BUCKET/PREFIX`, BUCKET being a name from the server's configuration."""

    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        """The canonical URI."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def name(self) -> str:
        """What the model is called in output names."""
        return _last(self.prefix)

    @property
    def title(self) -> str:
        """What the model is called in model cards."""
        return self.name


@dataclass(frozen=True)
class HubRef:
    """`hf://ORG/NAME@REVISION`: a branch, a tag or a commit of a model repository; `main` unless given."""

    repo: str
    revision: str = DEFAULT_REVISION

    @property
    def uri(self) -> str:
        """The canonical URI."""
        return f"hf://{self.repo}@{self.revision}"

    @property
    def name(self) -> str:
        """What the model is called in output names."""
        return _last(self.repo)

    @property
    def title(self) -> str:
        """What the model is called in model cards: its id, which the Hub makes a link of."""
        return self.repo

    @property
    def is_commit(self) -> bool:
        """Whether the revision can never mean anything else."""
        return _COMMIT.fullmatch(self.revision) is not None


SourceRef = LocalRef | S3Ref | HubRef


def parse_source(uri: str) -> SourceRef:
    """Read a source URI.

    Raises:
        ValueError: The scheme is none of the three, a name is malformed, or a path climbs (`..`), is absolute or has an
            empty component.
    """
    if is_seen(uri) and len(uri) <= MAX_URI_CHARACTERS:
        if (local := _LOCAL.fullmatch(uri)) is not None:
            return LocalRef(local["root"], _plain(local["path"], uri))
        if (s3 := _S3.fullmatch(uri)) is not None:
            return S3Ref(s3["bucket"], _plain(s3["prefix"], uri))
        if (hub := _HUB.fullmatch(uri)) is not None and not re.search(r"--|\.\.|//|\.git(/|@|$)", uri[len("hf://") :]):
            return HubRef(hub["repo"], _plain(hub["revision"] or DEFAULT_REVISION, uri))
    raise ValueError(f"{uri!r} is no source; write {FORMS}, ROOT or BUCKET being one that the server configures")


def _plain(path: str, uri: str) -> str:
    path = path.rstrip("/")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{uri!r}: the path must be plain names joined by '/', without '.', '..' or empty parts")
    return path


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]
