"""The entry point: the commands wired up, and what becomes of an error."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

from crossfade_cli.printing import print_json, print_line

try:
    import typer
except ModuleNotFoundError:
    sys.exit("crossfade: the command line is not installed: pip install 'crossfade[cli]'")

from crossfade_cli import (
    approval_commands,
    audit,
    commands,
    key_commands,
    lineage,
    output_commands,
    webhook_commands,
)
from crossfade_core.errors import CrossfadeError

_SUBMIT = "crossfade submit local://models/base local://models/instruct"
_COMMANDS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "serve": (
        commands.serve,
        ("crossfade serve", "crossfade serve --root models=/srv/models --destination outputs=/srv/outputs"),
    ),
    "merge": (
        commands.merge,
        (
            "crossfade merge ./base ./instruct --lambda 0:1:0.1 --out ./sweep",
            "crossfade merge ./base ./instruct --lambda 0.7 --out ./merged --out-dtype float32",
            "crossfade merge ./base ./adapter --lambda 0.5 --out ./merged --rule '*mlp*=0.5' --rule '*=1' --dry-run",
            "crossfade merge ./new-base ./chat --minus ./old-base --skip '*embed*' --lambda 1 --out ./merged",
        ),
    ),
    "fetch": (
        output_commands.fetch,
        (
            "crossfade fetch s3://models/sweeps/instruct-pad-0.5 ./model",
            f"crossfade fetch hf://acme/instruct-pad-0.5@{'0f6c5d1d' * 5} ./model --overwrite",
        ),
    ),
    "rebuild": (
        output_commands.rebuild,
        (
            "crossfade rebuild ./sweep/instruct-pad-0.5 --check",
            "crossfade rebuild s3://models/sweeps/instruct-pad-0.5 --check --root models=/srv/models",
            "crossfade rebuild ./model --check --source base=hf://acme/base@main --source instruct=./instruct",
        ),
    ),
    "verify": (
        output_commands.verify,
        (
            "crossfade verify ./model --key signing.pub",
            f"crossfade verify hf://acme/instruct-pad-0.5@{'0f6c5d1d' * 5} --key signing.pub --json",
        ),
    ),
    "inspect": (
        output_commands.inspect,
        (
            "crossfade inspect ./sweep",
            "crossfade inspect ./sweep/instruct-pad-0.1 --tensors 10",
            "crossfade inspect ./sweep --json",
        ),
    ),
    "keygen": (output_commands.keygen, ("crossfade keygen signing.key",)),
    "submit": (
        commands.submit,
        (
            f"{_SUBMIT} --lambda 0:1:0.1 --destination outputs --watch",
            f"{_SUBMIT} --lambda 0:1:0.1 --destination outputs --dry-run",
            f"{_SUBMIT} --lambda 0.7 --destination outputs --label team=eval --json",
            f"{_SUBMIT} --lambda 0.1 --destination outputs --rounding stochastic --policy one_sided=copy",
        ),
    ),
    "watch": (
        commands.watch,
        (
            "crossfade watch ID",
            "CROSSFADE_URL=https://merge.example.org crossfade watch ID",
            "crossfade watch ID --until-staged",
        ),
    ),
    "list": (commands.list_jobs, ("crossfade list --state RUNNING --label team=eval", "crossfade list --json")),
    "show": (commands.show, ("crossfade show ID", "crossfade show ID --json")),
    "cancel": (commands.cancel, ("crossfade cancel ID",)),
    "retry": (commands.retry, ("crossfade retry ID --watch",)),
    "lineage": (
        lineage.lineage,
        (
            "crossfade lineage --file model-00002-of-00005.safetensors",
            "crossfade lineage hf://acme/base",
            "crossfade lineage ./model --depth 1 --json",
        ),
    ),
    "approve": (
        approval_commands.approve,
        (
            "crossfade approve ID --lambda 0.5 --reason 'passes the release suite'",
            f"crossfade approve ID --lambda 0.5 --lineage-sha256 {'0f6c5d1d' * 8}",
        ),
    ),
    "reject": (approval_commands.reject, ("crossfade reject ID --all --reason 'worse than the base'",)),
    "audit": (
        audit.audit,
        ("crossfade audit --actor release --since 2026-11-01T00:00:00Z", "crossfade audit --action merge.cancelled"),
    ),
}
"""Every command and its examples, in the order of the help."""
_KEY_COMMANDS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "create": (
        key_commands.create_key,
        (
            "crossfade keys create release --scope read --scope submit --max-jobs 5 --expires 90",
            "CROSSFADE_TOKEN=$OPERATOR_TOKEN crossfade keys create alice --url https://merge.example.org",
        ),
    ),
    "list": (key_commands.list_keys, ("crossfade keys list",)),
    "revoke": (key_commands.revoke_key, ("crossfade keys revoke release",)),
}
"""Those of `crossfade keys`."""
_WEBHOOK_COMMANDS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "create": (
        webhook_commands.create,
        (
            "crossfade webhooks create https://ci.example.org/hooks/crossfade",
            "crossfade webhooks create http://127.0.0.1:9000/ --event job.failed --event output.published",
        ),
    ),
    "list": (webhook_commands.list_webhooks, ("crossfade webhooks list",)),
    "deliveries": (webhook_commands.deliveries, ("crossfade webhooks deliveries ID --state failed",)),
    "replay": (webhook_commands.replay, ("crossfade webhooks replay ID DELIVERY",)),
    "test": (webhook_commands.send_test, ("crossfade webhooks test ID",)),
    "rotate": (webhook_commands.rotate, ("crossfade webhooks rotate ID",)),
    "delete": (webhook_commands.delete, ("crossfade webhooks delete ID",)),
    "listen": (
        webhook_commands.listen,
        (
            "CROSSFADE_WEBHOOK_SECRET=whsec_… crossfade webhooks listen --port 9000 --job ID --timeout 3600",
            "crossfade webhooks listen --secret-env RELEASE_SECRET --port 9000 --count 1",
        ),
    ),
}
"""Those of `crossfade webhooks`."""


def build() -> typer.Typer:
    """Return the command line, wired up."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(crossfade)
    _add(app, _COMMANDS)
    keys = typer.Typer(rich_markup_mode=None, help="Manage a service's API keys.", no_args_is_help=True)
    _add(keys, _KEY_COMMANDS)
    app.add_typer(keys, name="keys")
    webhooks = typer.Typer(rich_markup_mode=None, help="Be told of jobs by webhooks.", no_args_is_help=True)
    _add(webhooks, _WEBHOOK_COMMANDS)
    app.add_typer(webhooks, name="webhooks")
    return app


def _add(app: typer.Typer, wired: dict[str, tuple[Callable[..., None], tuple[str, ...]]]) -> None:
    for name, (command, examples) in wired.items():
        # \b keeps the lines as they are.
        app.command(name, epilog="\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)]))(command)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"crossfade {version('crossfade')}")
        raise typer.Exit


def crossfade(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Merge a base and an instruct checkpoint: M(λ) = base + λ·(instruct − base), every λ in one pass."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted."""
    try:
        code = build()(args=sys.argv[1:] or ["--help"], prog_name="crossfade", standalone_mode=False)
    except CrossfadeError as error:
        _report(error.message, error.as_record())
        sys.exit(1)
    except typer.TyperException as error:
        _report(error.format_message(), {"code": "usage", "message": error.format_message()})
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:  # the process boundary
        if os.environ.get("CROSSFADE_DEBUG"):
            raise
        message = f"unexpected {type(error).__name__}: {error} (CROSSFADE_DEBUG=1 shows where)"
        _report(message, {"code": "error", "message": message})
        sys.exit(1)
    sys.exit(code)


def _report(message: str, record: dict[str, object]) -> None:
    print_line(f"crossfade: {message}")
    # By the word and not by the option: usage errors are found before there are options.
    if "--json" in sys.argv:
        print_json({"error": record})
