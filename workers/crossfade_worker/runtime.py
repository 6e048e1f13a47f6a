"""Composition root of a worker process: settings in, use cases out. Connects when first asked, never at import."""

import functools
import os
import socket
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from crossfade_core.ports import OpenSink, OpenSource, Signer
from crossfade_core.provenance import Builder
from crossfade_registries.config import Registries
from crossfade_signing.signers import open_signer
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.queue import CeleryTaskQueue
from crossfade_stores.webhook_store import SqlWebhookStore
from crossfade_webhooks.post import post
from crossfade_worker.deliver import Deliver
from crossfade_worker.documents import Maker
from crossfade_worker.keeping import Keeping
from crossfade_worker.openlineage_teller import open_teller
from crossfade_worker.plan_merge import PlanMerge
from crossfade_worker.publish import Publish
from crossfade_worker.settings import WorkerSettings
from crossfade_worker.sweep import Sweep
from crossfade_worker.telling_store import TellingStore

if TYPE_CHECKING:
    from crossfade_worker.run_unit import RunUnit


class Runtime:
    """The use cases of one process, each made once. Fork first, ask afterwards: connections do not survive a fork."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.clock = SystemClock()
        engine = create_store_engine(settings.database_url.get_secret_value())
        self.teller = open_teller(os.environ)
        self.store, self.webhooks = self._open_store(engine), SqlWebhookStore(engine, self.clock)
        self.queue = CeleryTaskQueue(settings.broker_url.get_secret_value())
        self.registries = Registries(settings)

    def _open_store(self, engine: Engine) -> SqlJobStore:
        if self.teller is None:
            return SqlJobStore(engine, self.clock)
        return TellingStore(engine, self.clock, self.teller)

    @functools.cached_property
    def plan_merge(self) -> PlanMerge:
        """Return the planner."""
        return PlanMerge(self.store, self.queue, self._opened, self.owner, self.registries.trust)

    @functools.cached_property
    def publish(self) -> Publish:
        """Return the publisher."""
        maker = Maker(Builder(self.settings.public_url), signer())
        return Publish(self.store, self._opened, self.owner, keeping=self._keeping, maker=maker)

    @functools.cached_property
    def sweep(self) -> Sweep:
        """Return the sweep."""
        return Sweep(self.store, self.webhooks, self.queue, self._keeping)

    @functools.cached_property
    def deliver(self) -> Deliver | None:
        """Return the sender of webhooks; None where none are sent."""
        key = self.settings.webhook_key
        if key is None:
            return None
        send = functools.partial(post, allowed=self.settings.webhook_networks)
        return Deliver(self.webhooks, send, self.clock, key.get_secret_value().encode())

    @functools.cached_property
    def run_unit(self) -> "RunUnit":
        """Return the merger. Here torch is loaded: control workers never do."""
        from crossfade_engine.merge_shard import open_resources
        from crossfade_worker.run_unit import RunUnit, UnitSettings

        resources = open_resources(self.settings.device, self.settings.threads)
        return RunUnit(
            self.store,
            self.queue,
            self.clock,
            self._opened,
            UnitSettings(
                self.owner,
                self.settings.lease_seconds,
                resources,
                max_deaths=self.settings.max_deaths,
                retry_seconds=self.settings.retry_seconds,
                keep_failed_seconds=self.settings.keep_failed_seconds,
            ),
        )

    @property
    def _opened(self) -> tuple[OpenSource, OpenSink]:
        return self.registries.open_source, self.registries.open_sink

    @property
    def _keeping(self) -> Keeping:
        return Keeping(self.clock, self.settings.keep_failed_seconds)


@functools.cache
def signer() -> Signer | None:
    """Return the key that signs outputs, None where none is given.

    A worker asks before its pool forks: its processes have the key then, whatever becomes of the file.

    Raises:
        KeyMalformed: A key's file cannot be read, is open to others, or holds no such key.
        ProgramMissing: There is no such command.
    """
    return open_signer(WorkerSettings.from_environment())


@functools.cache
def runtime() -> Runtime:
    """Return this process's runtime, read from the environment when first asked."""
    return Runtime(WorkerSettings.from_environment())
