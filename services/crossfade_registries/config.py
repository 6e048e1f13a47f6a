"""Turn names into registries: which adapter reads a source, which one publishes to a destination.

A job holds a source URI and a destination id; what they mean is the server's configuration (`settings`) and looked up
here and nowhere else. Clients are made when first used and kept: make one `Registries` a process, after forking. Their
libraries take a second to load, so they are imported then too.
"""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from crossfade_core.errors import DestinationNotAllowed, SourceNotAllowed, UnknownDestination, UnknownRoot
from crossfade_core.job import JobId
from crossfade_core.name_patterns import NamePatterns
from crossfade_core.ports import Sink, Source
from crossfade_core.source_ref import HubRef, LocalRef, S3Ref, parse_source
from crossfade_core.spec import MergeSpec
from crossfade_registries.hub.scratch import Scratch
from crossfade_registries.local.sink import LocalSink
from crossfade_registries.local.source import LocalSource
from crossfade_registries.retrying import Patience
from crossfade_registries.settings import (
    Credential,
    Destination,
    HubDestination,
    LocalDestination,
    RegistrySettings,
    S3Access,
    S3Destination,
)
from crossfade_registries.turn import Turn

if TYPE_CHECKING:
    from crossfade_registries.hub.client import HfApi
    from crossfade_registries.s3.client import S3Client


class Registries:
    """The registries of one deployment.

    Args:
        settings: What the operator configured.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self.trust = settings.trust()
        self._patience = Patience(total_seconds=settings.patience_seconds)
        self._turn = Turn(settings.scratch if settings.units_at_once > 1 else None)
        self._scratch = Scratch(settings.scratch, settings.units_at_once, self._turn)
        self._s3 = functools.cache(self._open_s3)
        self._hub = functools.cache(self._open_hub)

    def open_source(self, uri: str) -> Source:
        """Open the checkpoint at `uri`.

        Raises:
            UnknownRoot: The configuration has no such root or bucket.
            SourceNotAllowed: The configuration does not let jobs read that repository.
            SourceError: It is not there, or this service may not read it.
        """
        match parse_source(uri):
            case LocalRef() as local:
                return self._local_source(local)
            case S3Ref() as s3:
                return self._s3_source(s3)
            case HubRef() as hub:
                return self._hub_source(hub)

    def open_sink(self, spec: MergeSpec, job_id: JobId) -> Sink:
        """Open the spec's destination for one job.

        Raises:
            UnknownDestination: The configuration has no such destination.
        """
        match self._destination(spec.destination):
            case LocalDestination() as local:
                return LocalSink(
                    local.path,
                    job_id,
                    overwrite=spec.overwrite,
                    direct=local.write == "auto",
                    requires_approval=local.requires_approval,
                )
            case S3Destination() as s3:
                from crossfade_registries.s3.sink import S3Sink

                return S3Sink(
                    self._s3(_access(s3)),
                    s3,
                    job_id,
                    overwrite=spec.overwrite,
                    patience=self._patience,
                    turn=self._turn,
                )
            case HubDestination() as hub:
                from crossfade_registries.hub.sink import HubSink

                api = self._hub(hub.endpoint, hub.credential)
                return HubSink(
                    api, hub, job_id, overwrite=spec.overwrite, scratch=self._scratch, patience=self._patience
                )

    def check_user(self, destination: str, name: str) -> None:
        """Let the caller of that name publish to a destination.

        Raises:
            DestinationNotAllowed: It is not for this caller, or not there: the two look the same.
        """
        own = [key for key, place in self._settings.destinations.items() if NamePatterns(place.users).matching(name)]
        if destination not in own:
            raise DestinationNotAllowed(
                f"key {name!r} may not publish to {destination!r}; it may to {_names(own)}", destination=destination
            )

    def requires_approval(self, destination: str) -> bool:
        """Tell whether a destination publishes on approval only; one that is not there does not."""
        found = self._settings.destinations.get(destination)
        return found is not None and found.requires_approval

    def _destination(self, name: str) -> Destination:
        found = self._settings.destinations.get(name)
        if found is None:
            raise UnknownDestination(
                f"this server has no destination {name!r}; it has {_names(self._settings.destinations)}",
                destination=name,
            )
        return found

    def _local_source(self, ref: LocalRef) -> Source:
        roots = self._settings.roots
        if ref.root not in roots:
            raise UnknownRoot(
                f"{ref.uri}: this server has no root {ref.root!r}; it has {_names(roots)}",
                root=ref.root,
                source=ref.uri,
            )
        return LocalSource(roots[ref.root], ref.path, ref.uri)

    def _s3_source(self, ref: S3Ref) -> Source:
        bucket = self._settings.buckets.get(ref.bucket)
        if bucket is None:
            raise UnknownRoot(
                f"{ref.uri}: this server reads no bucket {ref.bucket!r}; it reads {_names(self._settings.buckets)}",
                root=ref.bucket,
                source=ref.uri,
            )
        from crossfade_registries.s3.source import S3Source

        prefix = f"{bucket.prefix}/{ref.prefix}" if bucket.prefix else ref.prefix
        client = self._s3(_access(bucket))
        return S3Source(client, bucket.bucket or ref.bucket, prefix, ref.uri, patience=self._patience)

    def _hub_source(self, ref: HubRef) -> Source:
        hub = self._settings.hub
        if not NamePatterns(hub.repos).matching(ref.repo):
            raise SourceNotAllowed(
                f"{ref.uri}: this server does not read {ref.repo}; it reads {', '.join(hub.repos) or 'no repository'}",
                source=ref.uri,
            )
        from crossfade_registries.hub.source import HubSource

        api = self._hub(hub.endpoint, hub.credential)
        return HubSource(api, ref, cache=hub.cache, patience=self._patience)

    def _open_s3(self, access: S3Access) -> "S3Client":
        from crossfade_registries.s3.client import open_s3

        return open_s3(access, self._credential(access.credential))

    def _open_hub(self, endpoint: str, credential: str | None) -> "HfApi":
        from crossfade_registries.hub.client import open_hub

        found = self._credential(credential)
        return open_hub(endpoint, found.token if found is not None else None)

    def _credential(self, name: str | None) -> Credential | None:
        return None if name is None else self._settings.credentials[name]


def _access(place: S3Access) -> S3Access:
    """Only how it is reached, so that places reached alike share a client."""
    return S3Access.model_validate({field: getattr(place, field) for field in S3Access.model_fields})


def _names(known: Iterable[str]) -> str:
    return ", ".join(sorted(known)) or "none"
