"""Read a checkpoint through a Source: index, headers, config and tokenizer files; a few MB at most, no tensor."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

from crossfade_core.adapter import ADAPTER_CONFIG, ADAPTER_FILE, read_adapter
from crossfade_core.adapter_config import MERGE_FIRST
from crossfade_core.canonical_json import json_digest
from crossfade_core.checkpoint import (
    INDEX_FILE,
    CheckpointLayout,
    build_layout,
    checkpoint_files,
    parse_index,
)
from crossfade_core.errors import (
    AdapterUnsupported,
    CheckpointError,
    IndexMalformed,
    QuantisationUnsupported,
    SourceChanged,
)
from crossfade_core.licence import Licence
from crossfade_core.lineage import COMPANION_FILES
from crossfade_core.model_config import CONFIG_FILE, is_tied, read_config
from crossfade_core.parents import AdapterSide, Chain, Checkpoint, Tuned, layouts_of
from crossfade_core.plan import MergePlan
from crossfade_core.planning import plan_merge
from crossfade_core.ports import FileInfo, OpenSource, Source
from crossfade_core.quantisation import read_values
from crossfade_core.spec import MergeSpec, Role, spec_digest
from crossfade_core.vocabulary import TOKENIZER_FILES, tokenizer_files
from crossfade_registries.header_cache import HeaderCache
from crossfade_registries.opened import Opened
from crossfade_registries.reading import read_file, read_header
from crossfade_registries.source_signatures import ANY_SOURCE, SignedSource, SourceTrust, look_at_signature, note_of

MODEL_FILES: Final = frozenset(
    {CONFIG_FILE, "generation_config.json", "preprocessor_config.json", "processor_config.json"}
)
"""Of the files copied along, those that describe the architecture and not the tokenizer."""
_HEADERS_AT_ONCE: Final = 16
"""A header is one small request where the source is remote; in turn, those of a large model would take a minute."""
MAX_INDEX_BYTES: Final = 100_000_000
MAX_CONFIG_BYTES: Final = 10_000_000
MAX_TOKENIZER_BYTES: Final = 200_000_000


@dataclass(frozen=True)
class SourcedPlan:
    """A plan with the files it was made from.

    Attributes:
        plan: The plan.
        files: Of every source, the files that the outputs depend on, as they are now.
        companions: Whose files are copied along, under their own names.
        uris: Of every source, pinned: opened again it is what was planned.
        signatures: What came of looking at the signature of each; empty where nobody asks.
        licences: What the card of each says of its licence, where it says anything.
    """

    plan: MergePlan
    files: Mapping[Role, Mapping[str, FileInfo]]
    companions: tuple[tuple[Role, FileInfo], ...]
    uris: Mapping[Role, str]
    signatures: Mapping[Role, SignedSource] = field(default_factory=dict)
    licences: Mapping[Role, Licence] = field(default_factory=dict)


def plan_spec(
    spec: MergeSpec, open_source: OpenSource, cache: HeaderCache | None = None, trust: SourceTrust = ANY_SOURCE
) -> SourcedPlan:
    """Plan a merge as `draft_plan` does, and let only a plan without refusals pass.

    Raises:
        SourceError: A source, or a file of it that the job needs, is not there or cannot be read.
        CheckpointError: A source is malformed; the message begins with its URI.
        PlanRefused: The parents do not pair.
    """
    sourced = draft_plan(spec, open_source, cache, trust)
    sourced.plan.require_accepted()
    return sourced


def draft_plan(
    spec: MergeSpec, open_source: OpenSource, cache: HeaderCache | None = None, trust: SourceTrust = ANY_SOURCE
) -> SourcedPlan:
    """Plan a merge from headers and small files alone, and see that what is copied along can be read.

    Args:
        spec: What the user asked for.
        open_source: How to reach the sources.
        cache: Of what earlier plans read; none unless given.
        trust: What is asked of the sources' signatures.

    Returns:
        The plan. Tensors that cannot be paired are in its `refusals`.

    Raises:
        SourceError: A source, or a file of it that the job needs, is not there or cannot be read.
        CheckpointError: A source is malformed; the message begins with its URI.
        PlanRefused: The tokenizers conflict, the schedule does not decide every tensor, or a format is not read.
    """
    cache = cache or HeaderCache(0)
    with open_sources(spec.sources, open_source) as sources:
        opened = {role: Opened(source, source.files(), cache) for role, source in sources.items()}
        _check_adapters(opened)
        base = _checkpoint(opened["base"], opened["instruct"])
        tuned = _tuned(opened, base)
        plan = plan_merge(spec, base, tuned)
        companions = tuple(_companions(spec, opened))
        for role, info in companions:
            opened[role].check_readable(info.name)  # better refused now than afterwards
        uris = {role: source.uri for role, source in sources.items()}
        pinned = _pinned(opened, layouts_of(base, tuned), companions)
        stated = {role: found.licence() for role, found in opened.items()}
        looked = {role: look_at_signature(found, pinned[role], trust) for role, found in opened.items()}
    signatures = {role: signed for role, signed in looked.items() if signed is not None}
    notes = (*plan.notes, *filter(None, itertools.starmap(note_of, signatures.items())))
    licences = {role: licence for role, licence in stated.items() if licence is not None}
    return SourcedPlan(replace(plan, notes=notes), pinned, companions, uris, signatures, licences)


def _pinned(
    opened: Mapping[Role, Opened],
    layouts: Mapping[Role, CheckpointLayout],
    companions: Iterable[tuple[Role, FileInfo]],
) -> dict[Role, dict[str, FileInfo]]:
    """Return of every source the files that the outputs depend on: those that were read, and those that will be."""
    pinned = {
        role: {shard.file: found.files[shard.file] for shard in layouts[role].shards} for role, found in opened.items()
    }
    for role, info in companions:
        pinned[role][info.name] = info
    for role, found in opened.items():
        pinned[role] |= {name: found.files[name] for name in sorted(found.consulted)}
    return pinned


def merge_digest(spec: MergeSpec, sourced: SourcedPlan) -> str:
    """Return `sha256:<hex>` over what a job is made of: its spec's digest, and every pinned file with its version.

    Jobs of one digest make the same shards, bit for bit, and publish them at the same place.
    """
    files = {role: files_as_record(found) for role, found in sourced.files.items()}
    made_of: dict[str, object] = {"spec": spec_digest(spec), "sources": dict(sourced.uris), "files": files}
    return json_digest(made_of)


@contextlib.contextmanager
def open_sources(uris: Mapping[Role, str], open_source: OpenSource) -> Iterator[dict[Role, Source]]:
    """Open every source of a job, by role, and close them at the end.

    Raises:
        SourceError: One is not there.
    """
    with contextlib.ExitStack() as stack:
        yield {role: stack.enter_context(contextlib.closing(open_source(uri))) for role, uri in uris.items()}


def read_layout(source: Source, files: Mapping[str, FileInfo]) -> CheckpointLayout:
    """Read the index and every header of a checkpoint.

    Args:
        source: The checkpoint.
        files: What `source.files()` said.

    Raises:
        CheckpointError: A header or the index is malformed; the message begins with the source's URI.
        SourceError: A file cannot be read.
    """
    with _named(source):
        weight_map = None
        if INDEX_FILE in files:
            if files[INDEX_FILE].size_bytes > MAX_INDEX_BYTES:
                raise IndexMalformed(f"{INDEX_FILE}: over {MAX_INDEX_BYTES} bytes", file=INDEX_FILE)
            weight_map = parse_index(read_file(source, files[INDEX_FILE]))
        names = checkpoint_files(list(files), weight_map)
        with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
            headers = list(pool.map(lambda name: read_header(source, files[name]), names))
        return build_layout(headers, weight_map)


def check_unchanged(source: Source, pinned: Mapping[str, FileInfo]) -> None:
    """Hold the files of a source against those that were planned.

    Raises:
        SourceChanged: A pinned file is gone or of another version.
    """
    present = source.files()
    for name, info in pinned.items():
        if present.get(name) != info:
            raise SourceChanged(
                f"{source.uri}/{name}: changed since the job was planned; submit the job again",
                source=source.uri,
                file=name,
            )


def files_as_record(files: Mapping[str, FileInfo]) -> dict[str, Any]:
    """Return pinned files as JSON for the store."""
    return {
        info.name: {"size_bytes": info.size_bytes, "version": info.version}
        | ({} if info.sha256 is None else {"sha256": info.sha256})
        for info in files.values()
    }


def files_from_record(record: Mapping[str, Any]) -> dict[str, FileInfo]:
    """Read back what `files_as_record` wrote."""
    return {name: FileInfo(name, **fields) for name, fields in record.items()}


def _check_adapters(opened: Mapping[Role, Opened]) -> None:
    """Let an adapter be the whole of the instruct side only.

    Raises:
        AdapterUnsupported: It is the base, or in a chain.
    """
    for role, found in opened.items():
        if found.is_adapter and (role == "base" or "reference" in opened):
            place = "be the base" if role == "base" else "stand in a chain"
            raise AdapterUnsupported(
                f"{found.source.uri}: an adapter cannot {place}; give it as the instruct side by itself, or "
                f"{MERGE_FIRST}",
                source=found.source.uri,
            )


def _tuned(opened: Mapping[Role, Opened], base: Checkpoint) -> Tuned:
    if opened["instruct"].is_adapter:
        return _adapter(opened["instruct"], opened["base"], base)
    tuned = _checkpoint(opened["instruct"], opened["base"])
    return Chain(tuned, _checkpoint(opened["reference"], opened["base"])) if "reference" in opened else tuned


def _checkpoint(opened: Opened, other: Opened) -> Checkpoint:
    """Read a parent; of its tokenizer the files that `other` has too, where there is a choice."""
    layout = opened.layout(opened.weight_files, lambda: read_layout(opened.source, opened.files))
    with _named(opened.source):
        raw = opened.small(CONFIG_FILE, MAX_CONFIG_BYTES)
        config = None if raw is None else read_config(raw)
        if config is not None:
            is_tied(config)  # better refused here, where the source is known
        return Checkpoint(layout, read_values(layout, config), config, _vocabulary(opened, other))


def _vocabulary(opened: Opened, other: Opened) -> Mapping[int, str] | None:
    """Read a tokenizer from the files that `other` has too, where there is a choice; its own where `other` has none."""
    own = tuple(opened.files)
    chosen = tokenizer_files(own, tuple(other.files)) or tokenizer_files(own, own)
    return opened.vocabulary(chosen[0] if chosen else (), MAX_TOKENIZER_BYTES)


def _adapter(opened: Opened, below: Opened, base: Checkpoint) -> AdapterSide:
    with _named(opened.source):
        if ADAPTER_FILE not in opened.files:
            raise AdapterUnsupported(
                f"{ADAPTER_CONFIG} is there without {ADAPTER_FILE}; save the adapter again with safetensors "
                "(save_pretrained(safe_serialization=True)): pickle weights can run code when loaded"
            )
        raw = opened.small(ADAPTER_CONFIG, MAX_CONFIG_BYTES) or b""
        layout = opened.layout(
            [ADAPTER_FILE], lambda: build_layout([read_header(opened.source, opened.files[ADAPTER_FILE])], None)
        )
        return AdapterSide(read_adapter(raw, layout, base.values.tensors), layout, _vocabulary(opened, below))


def _companions(spec: MergeSpec, opened: Mapping[Role, Opened]) -> Iterator[tuple[Role, FileInfo]]:
    """Choose whose file of each name is copied along.

    A model's files describe the outputs whole. An adapter, or a chain, gives its tokenizer at most: the architecture
    is the base's.
    """
    carried: Role = spec.carried_parent
    tuned = opened["instruct"]
    is_model = not tuned.is_adapter and "reference" not in opened
    has_tokenizer = any(name in tuned.files for name in TOKENIZER_FILES)
    for name in COMPANION_FILES:
        role: Role = carried if is_model or (has_tokenizer and name not in MODEL_FILES) else "base"
        if name in opened[role].files:
            yield role, opened[role].files[name]


@contextlib.contextmanager
def _named(source: Source) -> Iterator[None]:
    """Begin the message of what is wrong with a checkpoint with its URI."""
    try:
        yield
    except (CheckpointError, QuantisationUnsupported) as error:
        raise type(error)(f"{source.uri}: {error.message}", **{**error.details, "source": source.uri}) from error
