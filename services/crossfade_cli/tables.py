"""Outputs and jobs as tables on stdout. Off a terminal nothing is shortened: another program may read it."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from crossfade_cli.printing import plain

if TYPE_CHECKING:
    from crossfade_client.audit_views import AuditView
    from crossfade_client.key_views import KeyView
    from crossfade_client.views import JobSummary, JobView, OutputView
    from crossfade_client.webhook_views import DeliveryView, WebhookView

_WIDTH_ELSEWHERE = 10_000
_SHORT_DIGEST = 12
_BESIDE_PATH_AND_DIGEST = 40
"""Columns that λ, size and the rules between the columns take at most."""


@dataclass(frozen=True)
class OutputRow:
    """One safetensors file of one output; an output without files has one row that says why in `location`."""

    lam: float
    location: str
    size_bytes: int | None = None
    sha256: str = ""
    realised: float | None = None
    approval: str = ""


def rows_of_output(
    lam: float, location: str, files: Iterable[Mapping[str, Any]], figures: Mapping[str, Any] | None = None
) -> list[OutputRow]:
    """Return a row for each safetensors file, by name.

    Args:
        lam: The strength.
        location: The output's folder, as a path or `file://` URI.
        files: Each {name, size_bytes, sha256}.
        figures: What the strength really did; `realised` is read.
    """
    realised = (figures or {}).get("realised")
    folder = unquote(urlsplit(location).path).rstrip("/") if location.startswith("file://") else location.rstrip("/")
    weights = sorted((file for file in files if file["name"].endswith(".safetensors")), key=lambda file: file["name"])
    return [
        OutputRow(
            lam,
            f"{folder}/{file['name']}",
            file["size_bytes"],
            file["sha256"].removeprefix("sha256:"),
            realised if isinstance(realised, int | float) else None,
        )
        for file in weights
    ]


def rows_of_job(job: "JobView") -> list[OutputRow]:
    """Return the rows of every output of a job, in the order of its sweep."""
    rows = []
    for output in job.outputs:
        files = [file.as_json() for file in output.files]
        figures = output.figures.as_json() if output.figures else None
        found = rows_of_output(output.lam, output.uri, files, figures) if output.uri else []
        why = f": {output.error.message}" if output.error else ""
        found = found or [OutputRow(output.lam, f"{output.name} ({output.state.lower()}{why})")]
        rows += [replace(row, approval=_decided(output)) for row in found]
    return rows


def print_outputs(rows: Sequence[OutputRow], console: Console | None = None) -> None:
    """Print λ, path, size and SHA-256 of each row; λ̂ where it is known, and what was decided where anything was.

    A narrow terminal gets the digests' first 12 digits.
    """
    console = console or stdout_console()
    locations = [_near(row.location) if console.is_terminal else row.location for row in rows]
    is_narrow = max(map(len, locations), default=0) + 64 + _BESIDE_PATH_AND_DIGEST > console.width
    strengths = ["λ", "λ̂"] if any(row.realised is not None for row in rows) else ["λ"]
    approvals = ["approval"] if any(row.approval for row in rows) else []
    table = new_table(*strengths, *approvals, "path", "size", "SHA-256")
    for row, location in zip(rows, locations, strict=True):
        size = "" if row.size_bytes is None else decimal(row.size_bytes)
        digest = f"{row.sha256[:_SHORT_DIGEST]}…" if is_narrow and row.sha256 else row.sha256
        realised = "" if row.realised is None else f"{row.realised:.4g}"
        told = [repr(row.lam), realised][: len(strengths)]
        decided = [row.approval][: len(approvals)]
        table.add_row(*told, *decided, Text(location, overflow="fold"), size, digest)
    console.print(table)
    if is_narrow and any(row.sha256 for row in rows):
        console.print("digests are shortened for this terminal; a pipe or --json gets all of them", style="dim")


def print_jobs(jobs: Sequence["JobSummary"], console: Console | None = None) -> None:
    """Print a line for each job."""
    table = new_table("id", "state", "done", "λ", "created", "instruct")
    for job in jobs:
        far = job.progress
        done = f"{100 * far.bytes_done // far.bytes_total}%" if far.bytes_total else ""
        lambdas = str(len(job.spec.lambdas))
        instruct = Text(_instruct(job), overflow="fold")
        state = "RUNNING, approving" if job.phase == "approving" else job.state
        table.add_row(Text(job.id, overflow="fold"), state, done, lambdas, _second(job.created_at), instruct)
    (console or stdout_console()).print(table)


def print_job(job: "JobView", console: Console | None = None) -> None:
    """Print a job: what it is, where it stands, its outputs."""
    console = console or stdout_console()
    far = job.progress
    facts = {
        "job": job.id,
        "state": f"{job.state}, {job.phase}",
        "base": job.spec.base,
        "instruct": _instruct(job),
        "done": f"{decimal(far.bytes_done)} of {decimal(far.bytes_total)}",
        "error": job.error.message if job.error else "",
    }
    for name, value in facts.items():
        if value:
            console.print(f"{name + ':':10}{value}")
    print_outputs(rows_of_job(job), console)


def print_keys(keys: Sequence["KeyView"], console: Console | None = None) -> None:
    """Print a line for each API key."""
    table = new_table("name", "scopes", "unfinished jobs", "requests", "expires", "revoked")
    for key in keys:
        limit = "any number" if key.max_jobs is None else f"at most {key.max_jobs}"
        rate = "" if key.requests_per_minute is None else f"{key.requests_per_minute}/min"
        times = ["" if when is None else _second(when) for when in (key.expires_at, key.revoked_at)]
        table.add_row(key.name, ", ".join(key.scopes), limit, rate, *times)
    (console or stdout_console()).print(table)


def print_webhooks(webhooks: Sequence["WebhookView"], console: Console | None = None) -> None:
    """Print a line for each webhook."""
    table = new_table("webhook", "owner", "of", "events", "disabled", "url")
    for hook in webhooks:
        disabled = "" if hook.disabled_at is None else _second(hook.disabled_at)
        of = "every job" if hook.every_job else "own jobs"
        table.add_row(hook.id, hook.owner, of, ", ".join(hook.events), disabled, Text(plain(hook.url), overflow="fold"))
    (console or stdout_console()).print(table)


def print_deliveries(deliveries: Sequence["DeliveryView"], console: Console | None = None) -> None:
    """Print a line for each delivery, with how the last attempt ended."""
    table = new_table("delivery", "created", "event", "job", "state", "attempts", "last")
    for delivery in deliveries:
        last = delivery.attempts[-1] if delivery.attempts else None
        outcome = "" if last is None else plain(last.error or f"HTTP {last.status}")
        times = (delivery.state, str(len(delivery.attempts)))
        table.add_row(
            delivery.id, _second(delivery.created_at), delivery.type, delivery.job_id or "", *times, Text(outcome)
        )
    (console or stdout_console()).print(table)


def print_audit(entries: Sequence["AuditView"], console: Console | None = None) -> None:
    """Print a line for each entry of the audit log."""
    table = new_table("at", "who", "did", "to", "more")
    for entry in entries:
        more = ", ".join(f"{name} {value}" for name, value in entry.data.items() if isinstance(value, str))
        table.add_row(_second(entry.at), entry.actor, entry.action, entry.subject, Text(plain(more), overflow="fold"))
    (console or stdout_console()).print(table)


def _decided(output: "OutputView") -> str:
    if output.is_waiting:
        return "waits"
    return "" if output.approval == "PENDING" else output.approval.lower()


def _instruct(job: "JobView | JobSummary") -> str:
    """Return the instruct side: a source, or a difference of two."""
    instruct = job.spec.instruct
    return instruct if isinstance(instruct, str) else " − ".join(instruct.delta_of)


def _second(when: datetime) -> str:
    return when.isoformat()[:19]


def new_table(*columns: str) -> Table:
    """Return an empty table in the style of all."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in ("size", "done") else "left")
    return table


def stdout_console() -> Console:
    """Return what prints on stdout; off a terminal it has room for everything."""
    is_terminal = sys.stdout.isatty()
    return Console(highlight=False, markup=False, width=None if is_terminal else _WIDTH_ELSEWHERE)


def _near(location: str) -> str:
    """A path below the current folder is shown relative to it."""
    path, here = Path(location), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else location
