"""The Celery application: settings for long work on Redis; what a control worker runs beside its tasks.

Messages may be lost, doubled or late whatever is set here, so nothing here is relied on for correctness; the leases in
the database are. docs/adr/0003 gives each setting's reason.
"""

import importlib
import os
import threading
from typing import Final

import structlog
from celery import Celery
from celery.app.utils import Settings
from celery.signals import (
    celeryd_after_setup,
    celeryd_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)

from crossfade_core.errors import CrossfadeError, KeyMalformed, ProgramMissing
from crossfade_core.messages import CONTROL_QUEUE, MERGE_QUEUE
from crossfade_stores.queue import shared_celery_settings
from crossfade_worker.logs import configure_logging
from crossfade_worker.runtime import Runtime, signer
from crossfade_worker.runtime import runtime as of_this_process
from crossfade_worker.settings import WorkerSettings

log = structlog.get_logger()

app = Celery("crossfade", include=["crossfade_worker.tasks"])
app.conf.update(
    **shared_celery_settings(),
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,  # acks_late alone still holds one message more
    worker_cancel_long_running_tasks_on_connection_loss=False,  # the unit finishes; the lease tells if it counts
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
)

_FLUSH_SECONDS: Final = 2.0
_is_stopping = threading.Event()


def _configure(conf: Settings, **_: object) -> None:
    """Read the settings when a worker starts, not when this module is imported."""
    configure_logging()
    settings = WorkerSettings.from_environment()
    conf.broker_url = settings.broker_url.get_secret_value()
    conf.worker_soft_shutdown_timeout = settings.grace_seconds


def _check_signing(**_: object) -> None:
    """See before a worker starts that it can sign, if it is to, and that none of those who merge is to.

    Raises:
        SystemExit: It cannot, or it merges.
    """
    settings = WorkerSettings.from_environment()
    if settings.signs and MERGE_QUEUE in app.amqp.queues.consume_from:
        raise SystemExit(
            "the worker cannot start: it merges, and what computes weights must not hold the key that signs them: set "
            "CROSSFADE_SIGNING_KEY, …_KEY_FILE or …_COMMAND for workers of the queue control alone (-Q control)"
        )
    try:
        opened = signer()
    except (KeyMalformed, ProgramMissing) as error:
        raise SystemExit(f"the worker cannot start: {error.message}") from None
    if opened is not None:
        log.info("signing.on", key_id=opened.key_id)


def _load_engine(**_: object) -> None:
    """Load torch before a merge worker forks: one that cannot must not take units, and its pool need not load it again.

    Raises:
        SystemExit: It cannot be loaded, or has not the device that is configured.
    """
    if MERGE_QUEUE not in app.amqp.queues.consume_from:
        return
    # Let NVML tell whether there is a GPU: a driver that is woken before the pool forks is lost to the pool
    # (https://docs.pytorch.org/docs/stable/notes/cuda.html).
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    try:
        from crossfade_engine.device import check_device

        check_device(WorkerSettings.from_environment().device)
        importlib.import_module("crossfade_worker.run_unit")
    except ProgramMissing as error:
        raise SystemExit(f"the worker cannot start: {error.message}") from error
    except (ImportError, OSError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise SystemExit(f"the worker cannot start: torch does not load: {reason}") from error


def _start_sweeping(**_: object) -> None:
    if CONTROL_QUEUE in app.amqp.queues.consume_from:
        runtime = Runtime(WorkerSettings.from_environment())
        threading.Thread(target=_sweep_forever, args=(runtime,), name="sweep", daemon=True).start()
        threading.Thread(target=_deliver_forever, args=(runtime,), name="webhooks", daemon=True).start()


def _stop_sweeping(**_: object) -> None:
    _is_stopping.set()


def _flush(**_: object) -> None:
    """Let a process that ends send what it has told OpenLineage, if its receiver takes it soon."""
    if of_this_process.cache_info().currsize and (teller := of_this_process().teller) is not None:
        teller.flush(_FLUSH_SECONDS)


celeryd_init.connect(_configure)
celeryd_after_setup.connect(_check_signing)
celeryd_after_setup.connect(_load_engine)
worker_ready.connect(_start_sweeping)
worker_shutting_down.connect(_stop_sweeping)
worker_process_shutdown.connect(_flush)


def _deliver_forever(runtime: Runtime) -> None:
    if runtime.deliver is None:
        log.info("webhooks.off", reason="CROSSFADE_WEBHOOK_KEY is not set")
        return
    while not _is_stopping.is_set():
        try:
            runtime.deliver.run(_is_stopping)
        except Exception:  # the boundary of this thread: webhooks are not to end with one fault of ours
            log.exception("webhooks.crashed")
            _is_stopping.wait(runtime.settings.sweep_seconds)


def _sweep_forever(runtime: Runtime) -> None:
    while not _is_stopping.wait(runtime.settings.sweep_seconds):
        try:
            runtime.sweep()
        except CrossfadeError as error:
            log.warning("sweep.failed", code=error.code, message=error.message)
        except Exception:  # the boundary of this thread: a sweep that dies would leave lost work lost
            log.exception("sweep.crashed")
