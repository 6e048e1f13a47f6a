"""A job as OpenLineage run events: START when it begins to run, RUNNING once it is planned, then how it ended.

Imported only where OpenLineage is configured; needs `openlineage-python`. Of a job's sources nothing goes into an event
but their URIs, of our settings nothing. Source: https://openlineage.io/spec/2-0-2/OpenLineage.json and, for the
names of datasets, https://openlineage.io/docs/spec/naming
"""

import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Final, cast
from urllib.parse import unquote, urlsplit

import attr
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, OutputDataset, Run, RunEvent, RunState
from openlineage.client.event_v2 import Job as RunJob
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    processing_engine_run,
)
from openlineage.client.transport.console import ConsoleTransport

from crossfade_core.errors import InvalidSpec
from crossfade_core.job import Job, Output
from crossfade_core.source_ref import HubRef, LocalRef, S3Ref, parse_source
from crossfade_worker.openlineage_teller import Moment
from crossfade_worker.plan_record import SOURCES

PRODUCER: Final = f"urn:crossfade:{version('crossfade')}"
DEFAULT_NAMESPACE: Final = "crossfade"
_RUNS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:crossfade:openlineage:runs")


@attr.define
class CrossfadeRunFacet(RunFacet):
    """Of a run: the job it is a run of."""

    jobId: str  # noqa: N815 (the form of the specification's own facets)
    specDigest: str  # noqa: N815
    lambdas: list[float]
    labels: dict[str, str]


@attr.define
class CrossfadeSourceFacet(DatasetFacet):
    """Of an input: what it is to the merge; pinned once the job is planned."""

    role: str
    uri: str


@attr.define
class CrossfadeOutputFacet(DatasetFacet):
    """Of an output: its λ, and the SHA-256 of each file, which `lineage.json` explains."""

    lam: float
    uri: str
    sha256: dict[str, str]


def open_client() -> OpenLineageClient:
    """Return the package's own client, as its own environment variables configure it; what it logs is dropped.

    It logs what it cannot read of its configuration, in which its credentials are.

    Raises:
        InvalidSpec: They name no transport that can be used.
    """
    silent = logging.getLogger("openlineage")
    silent.propagate = False
    silent.addHandler(logging.NullHandler())
    client = OpenLineageClient()
    if isinstance(client.transport, ConsoleTransport):  # what it falls back to
        raise InvalidSpec("OPENLINEAGE_CONFIG and OPENLINEAGE_URL name no transport; see openlineage.io/docs/client")
    return client


def run_event(moment: Moment, job: Job, outputs: Sequence[Output], *, at: datetime) -> RunEvent:
    """Return what is to be told of a job.

    Args:
        moment: What has become of it.
        job: It, as it is then; it has begun to run.
        outputs: Its outputs, of which those that are published are told.
        at: When.
    """
    return RunEvent(
        eventType=RunState[moment],
        eventTime=at.isoformat(),
        run=Run(runId=run_id(job), facets=_run_facets(job)),
        job=RunJob(
            namespace=os.environ.get("OPENLINEAGE_NAMESPACE") or DEFAULT_NAMESPACE,
            name=" ".join(("merge", *job.spec.sources.values())),
            facets={"jobType": job_type_job.JobTypeJobFacet("BATCH", "CROSSFADE", "MERGE", producer=PRODUCER)},
        ),
        inputs=[_input(role, uri) for role, uri in _sources(job).items()],
        outputs=[_output(output, output.uri) for output in outputs if output.uri is not None],
        producer=PRODUCER,
    )


def run_id(job: Job) -> str:
    """Return the id of one run of a job, the same in every process; a retry is another run."""
    return str(uuid.uuid5(_RUNS, f"{job.id} {0 if job.started_at is None else job.started_at.timestamp():.6f}"))


def _sources(job: Job) -> Mapping[str, str]:
    pinned: Mapping[str, str] | None = (job.plan_summary or {}).get(SOURCES)
    return pinned or cast("Mapping[str, str]", job.spec.sources)


def _run_facets(job: Job) -> dict[str, RunFacet]:
    own = CrossfadeRunFacet(job.id, job.spec_digest, list(job.spec.lambdas), dict(job.spec.labels), producer=PRODUCER)
    facets: dict[str, RunFacet] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version("crossfade"), "crossfade", version("openlineage-python"), producer=PRODUCER
        ),
        "crossfade": own,
    }
    if job.error is not None:
        told = f"{job.error['code']}: {job.error['message']}"
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(told, "python", producer=PRODUCER)
    return facets


def _input(role: str, uri: str) -> InputDataset:
    ref = parse_source(uri)
    facets: dict[str, DatasetFacet] = {"crossfade": CrossfadeSourceFacet(role, uri, producer=PRODUCER)}
    match ref:
        case LocalRef():
            names = f"local://{ref.root}", ref.path
        case S3Ref():
            names = f"s3://{ref.bucket}", ref.prefix
        case HubRef():
            names = _of_hub(ref, facets)
    return InputDataset(*names, facets=facets)


def _output(output: Output, uri: str) -> OutputDataset:
    sha256 = {name: about["sha256"] for name, about in sorted(output.files.items())}
    facets: dict[str, DatasetFacet] = {"crossfade": CrossfadeOutputFacet(output.lam, uri, sha256, producer=PRODUCER)}
    parts = urlsplit(uri)
    if parts.scheme == "file":
        names = "file", unquote(parts.path)
    elif isinstance(ref := parse_source(uri), HubRef):
        names = _of_hub(ref, facets)
    else:
        names = f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
    return OutputDataset(*names, facets=facets)


def _of_hub(ref: HubRef, facets: dict[str, DatasetFacet]) -> tuple[str, str]:
    """Name a repository: the naming rules know no Hub, so by its scheme alone, as they name files."""
    if ref.is_commit:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(ref.revision, producer=PRODUCER)
    return "hf", ref.repo
