"""Make a published output again from its pinned inputs, into nothing: the same plan, engine and small files as a job's.

Memory held: that of a pass for one λ, one block of the published file, and a config.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from crossfade_core.checkpoint import INDEX_FILE
from crossfade_core.model_config import CONFIG_FILE, apply_changes
from crossfade_core.own_files import OWN_FILES
from crossfade_core.ports import FileInfo, OpenSource, Source, StagedFile
from crossfade_core.spec import Role
from crossfade_engine.input_digests import InputDigests
from crossfade_engine.merge_shard import Parents, Resources
from crossfade_engine.terms import Terms
from crossfade_registries.layout import SourcedPlan, open_sources, plan_spec
from crossfade_registries.published import Published
from crossfade_registries.reading import digest_file, read_file
from crossfade_worker.comparing import ComparingFiles, DifferenceError
from crossfade_worker.difference import NOT_PUBLISHED, Difference, locate
from crossfade_worker.plan_record import merged_results
from crossfade_worker.recipe import Recipe
from crossfade_worker.stream_shard import Order, stream_shards
from crossfade_worker.sweep_facts import WEIGHTS
from crossfade_worker.verdict import Verdict, find_changed_input

_NAMELESS: Final = "output"

Tell = Callable[[int, int], None]
"""Told the bytes made so far and those to make."""


class Rebuild:
    """One rebuild, and what it has found out so far.

    Attributes:
        output: Where it is published.
        published: What its lineage tells of its files; they are there, and of these sizes.
        made: Every file that was made again, as it is now.
        inputs: SHA-256 of every input file that was read whole, by role and name.
        tensors: How many the output has.

    Args:
        recipe: What the output is made of.
        output: Where it is published.
        published: What its lineage tells of its files; they are there, and of these sizes.
        open_source: How to reach the inputs.
    """

    def __init__(self, recipe: Recipe, output: Source, published: Published, open_source: OpenSource) -> None:
        self._recipe, self._open_source = recipe, open_source
        self.output, self.published = output, published
        self.made: dict[str, StagedFile] = {}
        self.inputs: dict[Role, dict[str, str]] = {}
        self.tensors = 0

    def run(self, resources: Resources, tell: Tell) -> Difference | None:
        """Plan anew, make the small files, stream every shard; return the first difference, which ends it.

        Raises:
            CrossfadeError: An input cannot be read, or its merge is refused.
        """
        sourced = plan_spec(self._recipe.spec, self._open_source)
        self.tensors = len(sourced.plan.rows)
        with open_sources(sourced.uris, self._open_source) as sources:
            self.inputs = {role: _consulted(sourced.files[role], source) for role, source in sources.items()}
            return self._compare_small(sourced, sources) or self._compare_shards(sourced, sources, resources, tell)

    def find_changed_input(self, *, is_reading: bool) -> Verdict | None:
        """Hold the inputs against what the lineage pins, as the verdict's function of this name does.

        Raises:
            SourceError: One cannot be read.
        """
        return find_changed_input(self._recipe, self._open_source, self.inputs, is_reading=is_reading)

    def _compare_small(self, sourced: SourcedPlan, sources: Mapping[Role, Source]) -> Difference | None:
        self.made.update(self._small_files(sourced, sources))
        shards = {shard.file for shard in sourced.plan.shards}
        for name in sorted(self.published.files.keys() - self.made.keys() - shards - OWN_FILES):
            return Difference(name, "it is published and not made by the merge")
        present = self.output.files()
        for name, made in self.made.items():
            if name not in self.published.files or name not in present:
                return Difference(name, NOT_PUBLISHED)
            found = digest_file(self.output, present[name])
            if found != made:
                return Difference(
                    name,
                    f"its SHA-256 is {found.sha256} published, {made.sha256} rebuilt",
                    published=found.sha256,
                    rebuilt=made.sha256,
                )
        return None

    def _small_files(self, sourced: SourcedPlan, sources: Mapping[Role, Source]) -> Iterator[tuple[str, StagedFile]]:
        """Yield the index, the config and what is copied along, as they are made."""
        if (index := sourced.plan.index_json()) is not None:
            yield INDEX_FILE, StagedFile.of(index)
        for role, info in sourced.companions:
            original = digest_file(sources[role], info)
            self.inputs[role][info.name] = original.sha256
            made = original
            if info.name == CONFIG_FILE and (changes := sourced.plan.config_changes):
                made = StagedFile.of(apply_changes(read_file(sources[role], info), changes))
            yield info.name, made

    def _compare_shards(
        self, sourced: SourcedPlan, sources: Mapping[Role, Source], resources: Resources, tell: Tell
    ) -> Difference | None:
        shards = sourced.plan.shards
        parents = Parents(sources, sourced.files, InputDigests(shards, sources, sourced.files))
        order = Order([(self._recipe.lam, _NAMELESS)], Terms.of(self._recipe.spec))
        comparing = ComparingFiles(self.output, self.published.files)
        try:
            results = stream_shards(shards, parents, order, comparing, resources=resources, tell=tell)
        except DifferenceError as error:
            return locate(error.found, next(shard for shard in shards if shard.file == error.found.file), self.output)
        digests, _ = merged_results(results)
        for role, found in digests.items():
            self.inputs[role] |= found
        for shard, result in zip(shards, results, strict=True):
            self.made[shard.file] = StagedFile(shard.size_bytes, result["outputs"][0])
        return None


def _consulted(files: Mapping[str, FileInfo], source: Source) -> dict[str, str]:
    """Return the SHA-256 of every file that the plan was made from, weights left out."""
    return {name: digest_file(source, info).sha256 for name, info in files.items() if not name.endswith(WEIGHTS)}
