"""Which operation goes on from which: the links of the OpenAPI document (3.1.0, section 4.8.20). Never answers one."""

from typing import Any, Final, NamedTuple

_ID: Final = "$response.body#/id"


class _Link(NamedTuple):
    """From an answer to operations that take what it holds: `parameters` by name, as runtime expressions."""

    operation: str
    status: str
    targets: tuple[str, ...]
    parameters: dict[str, str]


_JOB: Final = ("get_merge", "list_merge_events", "cancel_merge", "retry_merge")
_OUTPUT: Final = ("approve_output", "reject_output")
_FIRST_OUTPUT: Final = {"job_id": _ID, "position": "$response.body#/outputs/0/position"}
_WEBHOOK: Final = ("get_webhook", "rotate_webhook", "test_webhook", "list_deliveries", "delete_webhook")
_SAME_WEBHOOK: Final = {"webhook_id": "$request.path.webhook_id"}
_LINKS: Final = (
    _Link("submit_merge", "200", _JOB, {"job_id": _ID}),
    _Link("submit_merge", "202", _JOB, {"job_id": _ID}),
    _Link("get_merge", "200", _JOB[1:], {"job_id": _ID}),
    _Link("get_merge", "200", _OUTPUT, _FIRST_OUTPUT),
    _Link("approve_output", "200", _OUTPUT, _FIRST_OUTPUT),
    _Link("cancel_merge", "202", _JOB, {"job_id": _ID}),
    _Link("retry_merge", "202", _JOB, {"job_id": _ID}),
    _Link("create_webhook", "201", _WEBHOOK, {"webhook_id": _ID}),
    _Link("test_webhook", "202", ("list_deliveries",), _SAME_WEBHOOK),
    _Link("test_webhook", "202", ("replay_delivery",), {**_SAME_WEBHOOK, "delivery_id": _ID}),
    _Link("replay_delivery", "202", ("replay_delivery",), {**_SAME_WEBHOOK, "delivery_id": _ID}),
    _Link("create_key", "201", ("revoke_key",), {"name": "$response.body#/name"}),
    _Link("list_problems", "200", ("get_problem",), {"code": "$response.body#/items/0/code"}),
)


def add_links(operation: dict[str, Any]) -> None:
    """Say in an operation's answers where they lead, in place."""
    for link in _LINKS:
        if link.operation == operation["operationId"]:
            links = operation["responses"][link.status].setdefault("links", {})
            links |= {target: {"operationId": target, "parameters": link.parameters} for target in link.targets}
