"""`crossfade merge`: the merge without a service, by a process of the worker package that speaks JSON lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from crossfade_cli.json_process import JsonProcess
from crossfade_cli.printing import print_json, print_warnings
from crossfade_cli.progress import Show, open_progress
from crossfade_core.errors import ProgramMissing, Reported

_MODULE = "crossfade_worker.local_merge"


@dataclass(frozen=True)
class LocalProgress:
    """Progress as the merging process tells it; the rate is measured by whoever shows it."""

    bytes_done: int
    bytes_total: int
    rate_bytes_per_second: float | None = None
    eta_seconds: float | None = None


@dataclass
class LocalResult:
    """What a merge said by its end: the plan in numbers and its exceptions, the outputs, the figures of `done`."""

    plan: dict[str, Any] = field(default_factory=dict)
    exceptions: list[dict[str, str]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the one document that `--json` prints."""
        return {"plan": self.plan, "exceptions": self.exceptions, "outputs": self.outputs, **self.figures}


class MergeProcess(JsonProcess):
    """The merging process.

    It is started by the constructor, before there is a job to give it: it needs its first second or two to load torch.

    Args:
        argv: Arguments of this Python interpreter.

    Raises:
        ProgramMissing: The worker extra is not installed.
    """

    def __init__(self, argv: tuple[str, ...] = ("-m", _MODULE)) -> None:
        if find_spec("torch") is None:
            raise ProgramMissing("`crossfade merge` computes on this machine: pip install 'crossfade[worker]'")
        super().__init__(argv, "the merge")

    def run(self, job: Mapping[str, object], show: Show) -> LocalResult:
        """Give the process its job and follow it to its end.

        Raises:
            Reported: The merge failed and said why.
            ProcessFailed: The process ended without a word.
        """
        result = LocalResult()
        for event in self.events(job):
            match event["event"]:
                case "plan":
                    result.plan, result.exceptions = event["summary"], event.get("exceptions", [])
                case "progress":
                    show(LocalProgress(event["bytes_done"], event["bytes_total"]))
                case "output":
                    result.outputs.append({name: value for name, value in event.items() if name != "event"})
                case "done":
                    result.figures = {name: value for name, value in event.items() if name != "event"}
        return result


def merge(process: MergeProcess, job: Mapping[str, object], *, as_json: bool) -> None:
    """Give `process` the job, show its progress, then its outputs; or the plan alone, where it is a dry run.

    Args:
        process: A merging process that has no job yet.
        job: {base, instruct, and for a chain reference: absolute paths, hf:// or s3:// URIs; out: an absolute path;
            spec: the merge spec's options, with the chain's skip beside them; threads: 0 for all cores; dry_run;
            write: auto or buffered}.
        as_json: Whether to print one JSON document and nothing else.

    Raises:
        CrossfadeError: The merge failed.
    """
    is_dry_run = bool(job.get("dry_run"))
    try:
        with open_progress(is_quiet=as_json or is_dry_run) as show:
            result = process.run(job, show)
    except Reported as error:
        if is_dry_run and not as_json:
            _print_refusals(error.record)
        raise
    if as_json:
        print_json(result.as_json())
    elif is_dry_run:
        from crossfade_cli.plan_table import print_plan

        print_plan(result.plan, result.exceptions)
    else:
        _print_outputs(result)


def _print_refusals(record: Mapping[str, Any]) -> None:
    refusals = record.get("details", {}).get("refusals")
    if refusals:
        from crossfade_cli.plan_table import print_refusals

        print_refusals(refusals)


def _print_outputs(result: LocalResult) -> None:
    from crossfade_cli.tables import print_outputs, rows_of_output

    rows = [
        rows_of_output(output["lambda"], output["path"], output["files"], output.get("figures"))
        for output in result.outputs
    ]
    print_outputs([row for of_output in rows for row in of_output])
    print_warnings({output["name"]: output.get("warnings", ()) for output in result.outputs})
