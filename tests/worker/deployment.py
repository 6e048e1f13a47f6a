"""A whole service without processes: real store, registries and engine; time, messages and interruptions in hand."""

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine

from crossfade_core.approval import Decision
from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import Approval, Job, JobId, JobState, Output, Phase, Unit, UnitId
from crossfade_core.job_store import JobFilter
from crossfade_core.messages import PLAN, PUBLISH, UNIT
from crossfade_core.ports import Clock, FileInfo, Source, Span
from crossfade_core.provenance import Builder
from crossfade_core.spec import MergeSpec
from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Resources
from crossfade_registries.config import Registries
from crossfade_registries.local.sink import STAGING
from crossfade_registries.settings import LocalDestination, RegistrySettings
from crossfade_signing.signers import KeySigner
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.lineage_store import SqlLineageStore
from crossfade_stores.webhook_store import SqlWebhookStore
from crossfade_worker.documents import Maker
from crossfade_worker.keeping import Keeping
from crossfade_worker.plan_merge import PlanMerge
from crossfade_worker.publish import Publish
from crossfade_worker.run_unit import LONGEST_WAIT_SECONDS, RunUnit, UnitSettings
from crossfade_worker.sweep import Sweep
from tests.fakes.checkpoints import random_pair
from tests.fakes.clock import FakeClock
from tests.fakes.queue import RecordingQueue

LEASE_SECONDS = 30.0
CHUNK_BYTES = 4096

Hook = Callable[[str], None]
"""Told the file that is about to be read from; nothing when the files are about to be listed."""


class InterruptedSource:
    """A source that calls a hook before each read and each listing."""

    def __init__(self, source: Source, hook: Hook) -> None:
        self._source, self._hook = source, hook

    @property
    def uri(self) -> str:
        return self._source.uri

    def files(self) -> Mapping[str, FileInfo]:
        self._hook("")
        return self._source.files()

    def unlisted(self) -> Mapping[str, str]:
        return self._source.unlisted()

    def expect(self, spans: Sequence[Span]) -> None:
        self._source.expect(spans)

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        self._hook(file)
        self._source.read_into(file, offset, buffer)

    def close(self) -> None:
        self._source.close()


class InterruptibleStore(SqlJobStore):
    """The real store, but the methods named in `away` find the database away; `renewed` tells of every renewal."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(engine, clock)
        self.away: set[str] = set()
        self.renewed = threading.Event()

    def renew_lease(self, unit_id: UnitId, fence: int, lease_seconds: float, bytes_done: int) -> None:
        try:
            self._check("renew_lease")
            super().renew_lease(unit_id, fence, lease_seconds, bytes_done)
        finally:
            self.renewed.set()

    def publish_output(
        self,
        job_id: JobId,
        position: int,
        uri: str,
        files: Mapping[str, Mapping[str, Any]],
        *,
        statistics: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._check("publish_output")
        super().publish_output(job_id, position, uri, files, statistics=statistics, inputs=inputs)

    def complete_unit(self, unit_id: UnitId, fence: int, result: Mapping[str, Any]) -> int:
        self._check("complete_unit")
        return super().complete_unit(unit_id, fence, result)

    def _check(self, method: str) -> None:
        if method in self.away:
            raise StoreUnavailable("the database did not answer; check that it runs")


class Deployment:
    """The use cases over one database, one root `models` with a pair in shards, one destination `outputs`.

    Args:
        folder: Where everything lies.
        engine: A database with its schema.
    """

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.models, self.outputs = folder / "models", folder / "outputs"
        self.pair = random_pair(self.models, base_shards=2, instruct_shards=3)
        self.outputs.mkdir()
        self.engine = engine
        self.clock, self.queue = FakeClock(), RecordingQueue()
        self.store = InterruptibleStore(engine, self.clock)
        self.webhooks, self.lineage = SqlWebhookStore(engine, self.clock), SqlLineageStore(engine, self.clock)
        self.settings = RegistrySettings(
            roots={"models": self.models}, destinations={"outputs": LocalDestination(path=self.outputs)}
        )
        self.registries = Registries(self.settings)
        self.keep_failed_seconds = 0.0
        self.maker = Maker(Builder("https://merge.example.org"), KeySigner(ec.generate_private_key(ec.SECP256R1())))
        self._hook: Hook | None = None
        self.broken_claims: list[AssertionError] = []

    def on_next_read(self, call: Hook, file: str | None = None, *, by_a_thread: bool = False) -> None:
        """Interrupt the next read by a call; once.

        Args:
            call: What to do. What it claims is held against it at the end, though a worker survives any error.
            file: Only a read of this file.
            by_a_thread: Only a read by one of the pass's threads: from then on the worker ticks meanwhile.
        """

        def hook(name: str) -> None:
            is_of_a_thread = threading.current_thread() is not threading.main_thread()
            is_meant = name == file or (file is None and name != "")
            if self._hook is hook and is_meant and is_of_a_thread >= by_a_thread:
                self._hook = None
                try:
                    call(name)
                except AssertionError as error:
                    self.broken_claims.append(error)
                    raise

        self._hook = hook

    def on_next_listing(self, call: Hook) -> None:
        """Interrupt the next time a source's files are listed: a unit has not begun to write then."""
        self.on_next_read(call, "")

    def on_every_read(self, call: Hook) -> None:
        """Interrupt every read by a call."""
        self._hook = lambda name: call(name) if name else None

    def open_source(self, uri: str) -> Source:
        return InterruptedSource(self.registries.open_source(uri), lambda file: self._hook and self._hook(file))

    def submit(self, **changes: Any) -> Job:
        """Store a job and send it off, as the API does."""
        fields = {
            "base": "local://models/base",
            "instruct": "local://models/instruct",
            "lambdas": [0.0, 0.5, 1.0],
            "destination": "outputs",
            **changes,
        }
        job = self.store.create_job(MergeSpec.model_validate(fields))
        self.queue.send(PLAN, job.id)
        return job

    def require_approval(self) -> None:
        """Configure the destination so, in every process from now on."""
        places = {"outputs": LocalDestination(path=self.outputs, requires_approval=True)}
        self.registries = Registries(self.settings.model_copy(update={"destinations": places}))

    def decide(self, job: Job, position: int, approval: Approval, reason: str | None = "because", **more: Any) -> None:
        """Decide about an output, as the API does."""
        self.store.decide_output(job.id, position, Decision(approval, "reviewer", reason, **more))
        self.queue.send(PUBLISH, job.id)

    def cancel(self, job_id: JobId) -> None:
        """Cancel a RUNNING job, as the API does."""
        self.store.move_job(job_id, JobState.CANCELLING, phase=Phase.CLEANING)
        self.queue.send(PUBLISH, job_id)

    def plan(self, job_id: str, owner: str = "control-1") -> None:
        registries = (self.open_source, self.registries.open_sink)
        PlanMerge(self.store, self.queue, registries, owner, self.registries.trust)(JobId(job_id))

    def run_unit(self, unit_id: str, owner: str = "merge-1") -> None:
        resources = Resources(CpuDevice(), threads=2, chunk_bytes=CHUNK_BYTES)
        settings = UnitSettings(owner, LEASE_SECONDS, resources, keep_failed_seconds=self.keep_failed_seconds)
        registries = (self.open_source, self.registries.open_sink)
        RunUnit(self.store, self.queue, self.clock, registries, settings)(UnitId(unit_id))

    def publish(self, job_id: str, owner: str = "control-1") -> None:
        registries = (self.open_source, self.registries.open_sink)
        Publish(self.store, registries, owner, keeping=self._keeping, maker=self.maker)(JobId(job_id))

    def cut_off_while_publishing(self, **changes: Any) -> Job:
        """Publish a job up to where the database is told of it, and no further; return it."""
        job = self.merged(**changes)
        self.store.away = {"publish_output"}
        with pytest.raises(StoreUnavailable):
            self.publish(job.id)
        self.store.away = set()
        return job

    def sweep(self) -> None:
        Sweep(self.store, self.webhooks, self.queue, self._keeping)()

    @property
    def _keeping(self) -> Keeping:
        return Keeping(self.clock, self.keep_failed_seconds)

    def deliver(self) -> None:
        """Deliver messages, oldest first, until none is left."""
        handlers = {PLAN: self.plan, UNIT: self.run_unit, PUBLISH: self.publish}
        for _ in range(100):
            if not self.queue.sent:
                return
            task, ident = self.queue.sent.pop(0)
            handlers[task](ident)
        raise AssertionError("messages breed without end")

    def deliver_through_waits(self) -> None:
        """Deliver until no message is left and neither unit nor output waits to be tried again."""
        self.deliver()
        running = functools.partial(self.store.list_jobs, JobFilter(JobState.RUNNING))
        while any(
            job.phase is Phase.PUBLISHING or unit.not_before
            for job in running()
            for unit in self.store.list_units(job.id)
        ):
            self.clock.advance(LONGEST_WAIT_SECONDS)
            self.sweep()
            self.deliver()

    def drop_messages(self) -> list[tuple[str, str]]:
        """Lose every message on its way, and return what they were."""
        lost, self.queue.sent = self.queue.sent, []
        return lost

    def planned(self, **changes: Any) -> tuple[Job, list[Unit]]:
        """Submit a job and plan it; its units' messages are lost."""
        job = self.submit(**changes)
        self.plan(job.id)
        self.drop_messages()
        return job, list(self.store.list_units(job.id))

    def merged(self, **changes: Any) -> Job:
        """Submit a job and run all its units; the publish message is lost."""
        job, units = self.planned(**changes)
        for unit in units:
            self.run_unit(unit.id)
        assert self.drop_messages() == [(PUBLISH, job.id)]
        return job

    def job(self, job: Job) -> Job:
        return self.store.get_job(job.id)

    def states(self, job: Job) -> tuple[str, list[str]]:
        """Return the job's state and those of its outputs."""
        return self.job(job).state, [output.state for output in self.store.list_outputs(job.id)]

    def visible(self) -> list[str]:
        """Return what stands at the destination, staging left out."""
        return sorted(path.name for path in self.outputs.iterdir() if path.name != STAGING)

    def is_staging(self) -> bool:
        return (self.outputs / STAGING).exists()

    def digests(self, output: Output) -> dict[str, dict[str, Any]]:
        """Return size and SHA-256 of every file of an output, as they are on disk."""
        return facts_of(self.outputs / output.name)


def facts_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of every file in a folder."""
    return {
        path.name: {"size_bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
