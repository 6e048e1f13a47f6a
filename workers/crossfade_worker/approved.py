"""Keep an output staged until somebody decides, and commit it on approval, perhaps days later in another process.

Makes nothing anew: what is published is what was approved, by the digests that were kept of it.
"""

import structlog

from crossfade_core.job import Output
from crossfade_core.job_store import JobStore, Kept
from crossfade_core.ports import Sink, StagedFile
from crossfade_worker.output_files import StagedOutput

log = structlog.get_logger()


def keep_staged(store: JobStore, sink: Sink, output: Output, staged: StagedOutput) -> None:
    """Note an output of which everything is staged, and keep what its destination cannot.

    Raises:
        StoreUnavailable: The database is away; the sweep has it staged again.
    """
    held = {staged.files[file]["sha256"]: content for file, content in sink.hand_over(output.name).items()}
    kept = Kept(held, staged.inputs)
    store.stage_output(output.job_id, output.position, staged.files, statistics=staged.statistics, kept=kept)
    log.info("output.staged", name=output.name)


def commit_approved(store: JobStore, sink: Sink, output: Output) -> str:
    """Publish a staged output and return its URI; once more, where that was done and not noted.

    Raises:
        StagedFileLost: The destination does not keep a file any more.
        SinkError: As the sink's `commit`.
        StoreUnavailable: The database is away.
    """
    files = {name: StagedFile(**about) for name, about in output.files.items()}
    held = store.held_contents(output.job_id, {about.sha256 for about in files.values()})
    for name, about in files.items():
        if about.sha256 in held:
            _stage(sink, output.name, name, held[about.sha256], about)
    return sink.commit(output.name, files)


def _stage(sink: Sink, output: str, name: str, content: bytes, about: StagedFile) -> None:
    writer = sink.create_file(output, name, about.size_bytes)
    try:
        writer.write(memoryview(content))
        writer.finish(about.sha256)
    finally:
        writer.abandon()
