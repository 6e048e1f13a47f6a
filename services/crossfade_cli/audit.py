"""The command that reads a service's audit log, and its options."""

from typing import Annotated

import typer

from crossfade_cli.options import DEFAULT_URL, Json, Page, Url, connect


def audit(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    actor: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this key did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as merge.cancelled.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="ID", help="Only of this job, webhook or key.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 2026-11-22T00:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    page: Page = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List who submitted, cancelled, retried and published what, newest first; for administrators."""
    from crossfade_cli.printing import print_json, print_line
    from crossfade_cli.tables import print_audit

    with connect(url) as client:
        found = client.audit(
            limit=limit, page=page, actor=actor, action=action, subject=subject, since=since, until=until
        )
    if as_json:
        print_json(found.as_json())
        return
    print_audit(found.items)
    if found.next:
        print_line(f"there are more: --page {found.next}")
