"""Whether the process is up, and whether it can do its work. Neither asks for a token: probes carry none."""

from fastapi import APIRouter

from crossfade_api.dependencies import AdaptersDep
from crossfade_api.problems import documented
from crossfade_api.views import HealthView

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="get_health", summary="Is the process up?")
def get_health() -> HealthView:
    """Answer; touches nothing, so that a database that is away does not get the API restarted."""
    return HealthView(status="ok")


@router.get("/readyz", operation_id="get_readiness", summary="Can it take jobs?", responses=documented(503))
def get_readiness(adapters: AdaptersDep) -> HealthView:
    """Reach the database, check its schema's version, and reach the broker."""
    adapters.store.ping()
    adapters.queue.ping()
    return HealthView(status="ready")
