"""A typed client of a crossfade service, for release scripts and notebooks: `pip install 'crossfade[client]'`.

Everything named here is stable; the modules behind it are not. Errors are those of `crossfade_core.errors`: whatever a
call raises is a `CrossfadeError` with a stable `code`, whose move it is (`blame`) and whether the same call can succeed
later (`retryable`).
"""

from crossfade_client.audit_views import AuditPage, AuditView
from crossfade_client.client import AuditFilter, Client, JobFilter
from crossfade_client.key_views import KeyList, KeyView, NewKeyView
from crossfade_client.lineage_views import EdgeView, LineageGraphView, MatchView, NodeView, SightingView
from crossfade_client.plan_views import PlanReport
from crossfade_client.server_events import ServerEvent
from crossfade_client.spec_view import SpecView
from crossfade_client.views import (
    ErrorView,
    FiguresView,
    JobPage,
    JobSummary,
    JobView,
    OutputFile,
    OutputSummary,
    OutputView,
    PlanView,
    Progress,
)
from crossfade_client.webhook_receiver import Receiver
from crossfade_client.webhook_views import DeliveryPage, DeliveryView, NewWebhookView, WebhookList, WebhookView
from crossfade_client.webhooks import WebhookMessage, verify
from crossfade_core.errors import (
    CrossfadeError,
    Reported,
    SecretMalformed,
    ServiceUnreachable,
    WaitTimedOut,
    WebhookUnverified,
)
from crossfade_core.job import Approval, JobState, OutputState
from crossfade_core.spec import MergeSpec

__all__ = [
    "Approval",
    "AuditFilter",
    "AuditPage",
    "AuditView",
    "Client",
    "CrossfadeError",
    "DeliveryPage",
    "DeliveryView",
    "EdgeView",
    "ErrorView",
    "FiguresView",
    "JobFilter",
    "JobPage",
    "JobState",
    "JobSummary",
    "JobView",
    "KeyList",
    "KeyView",
    "LineageGraphView",
    "MatchView",
    "MergeSpec",
    "NewKeyView",
    "NewWebhookView",
    "NodeView",
    "OutputFile",
    "OutputState",
    "OutputSummary",
    "OutputView",
    "PlanReport",
    "PlanView",
    "Progress",
    "Receiver",
    "Reported",
    "SecretMalformed",
    "ServerEvent",
    "ServiceUnreachable",
    "SightingView",
    "SpecView",
    "WaitTimedOut",
    "WebhookList",
    "WebhookMessage",
    "WebhookUnverified",
    "WebhookView",
    "verify",
]
