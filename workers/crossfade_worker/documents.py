"""Say which documents an output has: for people, for others' tools, the record of its lineage, and what is signed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crossfade_core.bom import bom_json
from crossfade_core.in_toto import PAYLOAD_TYPE
from crossfade_core.job import Output
from crossfade_core.job_store import JobStore
from crossfade_core.lineage import Lineage, lineage_json
from crossfade_core.mergekit_config import mergekit_config
from crossfade_core.model_card import CardFacts, model_card
from crossfade_core.own_files import (
    BOM_FILE,
    CARD_FILE,
    LINEAGE_FILE,
    MERGEKIT_FILE,
    PLOT_FILE,
    PROVENANCE_FILE,
    SIGNATURE_FILE,
)
from crossfade_core.ports import Signer
from crossfade_core.provenance import Builder, provenance_statement
from crossfade_core.sweep_plot import SweepPoint, sweep_svg
from crossfade_signing import dsse, model_bundle
from crossfade_worker.kept_signatures import KeptSignatures

Document = tuple[str, Callable[[Lineage], bytes]]
"""A file's name, and what makes it of a lineage that tells of all files before it."""


@dataclass(frozen=True)
class Maker:
    """Who makes outputs, and vouches for them.

    Attributes:
        builder: The deployment.
        signer: Its key; None where outputs are not signed.
    """

    builder: Builder
    signer: Signer | None = None

    def remembering(self, store: JobStore, output: Output) -> "Maker":
        """Return the maker of one output of a job, which signs nothing twice."""
        return Maker(self.builder, self.signer and KeptSignatures(self.signer, store, output))


def documents(maker: Maker, sweep: Sequence[SweepPoint]) -> Sequence[Document]:
    """Return every document of an output, in the order in which each tells of those before it.

    The last two are there only where there is a key; making them raises SigningFailed where it cannot be used.
    """
    signer = maker.signer
    facts = CardFacts(sweep, None if signer is None else signer.key_id)
    unsigned: list[Document] = [
        (CARD_FILE, lambda lineage: model_card(lineage, facts)),
        (PLOT_FILE, lambda lineage: sweep_svg(sweep, lineage.lam)),
        (BOM_FILE, lambda lineage: bom_json(lineage, lineage.outputs)),
        (MERGEKIT_FILE, mergekit_config),
        (LINEAGE_FILE, lineage_json),
    ]
    if signer is None:
        return unsigned

    def provenance(lineage: Lineage) -> bytes:
        return dsse.sign(provenance_statement(lineage, maker.builder), PAYLOAD_TYPE, signer)

    def signature(lineage: Lineage) -> bytes:
        digests = {name: about["sha256"] for name, about in lineage.outputs.items()}
        return model_bundle.sign(digests, signer, name=lineage.output_name)

    return [*unsigned, (PROVENANCE_FILE, provenance), (SIGNATURE_FILE, signature)]
