"""A dry run as `crossfade submit --dry-run` shows it: the plan, what would be written, and what stands against it."""

from collections.abc import Iterator
from datetime import timedelta

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from crossfade_cli.plan_table import print_plan, print_refusals
from crossfade_cli.printing import plain
from crossfade_cli.tables import new_table, stdout_console
from crossfade_client.plan_views import PlanReport


def print_report(report: PlanReport, console: Console | None = None) -> None:
    """Print a dry run.

    Args:
        report: What the service said.
        console: Where to; stdout unless given.
    """
    console = console or stdout_console()
    exceptions = [exception.as_json() for exception in report.exceptions]
    print_plan(report.as_json(), exceptions, console, exception_count=report.exception_count)
    console.print()
    for name, value in _costs(report):
        console.print(Text(plain(f"{name + ':':10}{value}")))
    table = new_table("λ", "output")
    for output in report.outputs:
        table.add_row(repr(output.lam), Text(plain(output.name), overflow="fold"))
    console.print(table)
    for obstacle in report.obstacles:
        console.print(Text(plain(f"refused:  {obstacle.message}")))
        if refusals := obstacle.details.get("refusals"):
            print_refusals(refusals, console)


def _costs(report: PlanReport) -> Iterator[tuple[str, str]]:
    yield from report.sources.items()
    yield "in all", f"{decimal(report.write_bytes)} for {len(report.outputs)} λ"
    if report.scratch_bytes:
        yield "scratch", f"{decimal(report.scratch_bytes)} on the worker's disk"
    if report.estimate is not None:
        rate, jobs = decimal(round(report.estimate.rate_bytes_per_second)), report.estimate.measured_jobs
        yield (
            "takes",
            f"about {timedelta(seconds=round(report.estimate.seconds))}, at {rate}/s as the last {jobs} job(s)",
        )
    if report.requires_approval:
        yield "approval", "the destination publishes on approval only: crossfade approve"
    if report.job is not None:
        yield "job", f"{report.job} makes the same already; --fresh makes it again"
