"""The composition root of the API: settings in, application out. Nothing connects before the lifespan begins."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, Security

from crossfade_api.auth import AccessGate, bearer_scheme
from crossfade_api.dependencies import Adapters
from crossfade_api.known_keys import KnownKeys
from crossfade_api.limits import BodyLimit
from crossfade_api.openapi import correct_openapi
from crossfade_api.problems import install_problems
from crossfade_api.rate_limits import RateLimit
from crossfade_api.routes import (
    approvals,
    audit,
    events,
    formats,
    health,
    keys,
    lineage,
    merges,
    plans,
    problems,
    webhooks,
)
from crossfade_api.settings import ApiSettings
from crossfade_api.webhook_secrets import WebhookSecrets
from crossfade_registries.config import Registries
from crossfade_registries.header_cache import HeaderCache
from crossfade_stores.audit_log import SqlAuditLog
from crossfade_stores.clock import SystemClock
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.key_store import SqlKeyStore
from crossfade_stores.lineage_store import SqlLineageStore
from crossfade_stores.queue import CeleryTaskQueue
from crossfade_stores.webhook_store import SqlWebhookStore

DESCRIPTION: Final = """\
Merge two checkpoints of one architecture, a *base* and an *instruct* model tuned from it, for a list of strengths λ:

    M(λ) = base + λ · (instruct − base)

One job reads both once and publishes one checkpoint for every λ. Errors are problems (RFC 9457): decide by `code`.
"""
TAGS: Final = [
    {"name": "merges", "description": "Jobs: submit, show, list, cancel, retry."},
    {"name": "approvals", "description": "Decide about outputs."},
    {"name": "plans", "description": "What a submission would do, and whether it would be accepted."},
    {"name": "events", "description": "A job's log, as a list or as server-sent events."},
    {"name": "lineage", "description": "What a file is, what it was made of, what was made of it."},
    {"name": "webhooks", "description": "Be told instead of asking: signed messages after Standard Webhooks."},
    {"name": "keys", "description": "Who may call; for administrators."},
    {"name": "audit", "description": "Who did what; for administrators."},
    {"name": "problems", "description": "What each error means and what to do; no key."},
    {"name": "formats", "description": "What the files of outputs mean; no key."},
    {"name": "health", "description": "For probes; no key."},
]

AdapterOpener = Callable[[ApiSettings], AbstractContextManager[Adapters]]


@contextmanager
def open_adapters(settings: ApiSettings) -> Iterator[Adapters]:
    """Build the real adapters; each connects when it is first used."""
    clock = SystemClock()
    registries = Registries(settings)
    with ExitStack() as closing:
        engine = create_store_engine(settings.database_url.get_secret_value())
        closing.callback(engine.dispose)
        queue = CeleryTaskQueue(settings.broker_url.get_secret_value())
        closing.callback(queue.close)
        yield Adapters(
            store=SqlJobStore(engine, clock),
            keys=KnownKeys(SqlKeyStore(engine, clock), clock),
            webhooks=SqlWebhookStore(engine, clock),
            secrets=WebhookSecrets(settings),
            audit=SqlAuditLog(engine, clock),
            lineage=SqlLineageStore(engine, clock),
            queue=queue,
            open_source=registries.open_source,
            open_sink=registries.open_sink,
            check_user=registries.check_user,
            requires_approval=registries.requires_approval,
            header_cache=HeaderCache(settings.header_cache_bytes),
            trust=registries.trust,
            clock=clock,
        )


def create_app(settings: ApiSettings | None = None, opener: AdapterOpener = open_adapters) -> FastAPI:
    """Build the application.

    Args:
        settings: What to run with; read from the environment where not given (`uvicorn --factory` does not).
        opener: Opens the adapters when the application starts and closes them when it stops.

    Raises:
        pydantic.ValidationError: The environment's settings are missing or make no sense.
    """
    settings = settings or ApiSettings.from_environment()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with opener(settings) as app.state.adapters:
            yield

    app = FastAPI(
        title="crossfade",
        version=version("crossfade"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.stopping = threading.Event()
    for jobs in (merges.router, approvals.router, lineage.router):
        app.include_router(jobs, dependencies=[Security(bearer_scheme)])
    for guarded in (plans.router, events.streams, events.router, webhooks.router, keys.router, audit.router):
        app.include_router(guarded, dependencies=[Security(bearer_scheme)])
    app.include_router(problems.router)
    app.include_router(formats.router)
    app.include_router(health.router)
    app.add_middleware(BodyLimit)
    app.add_middleware(RateLimit, per_minute=settings.requests_per_minute, clock=lambda: app.state.adapters.clock)
    app.add_middleware(AccessGate, token=settings.api_token, key_store=lambda: app.state.adapters.keys)
    install_problems(app)
    correct_openapi(app.openapi())
    return app
