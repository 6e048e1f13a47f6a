"""Names of the files that crossfade itself writes into an output, beside weights and what is copied along."""

from typing import Final

CARD_FILE: Final = "README.md"
PLOT_FILE: Final = "sweep.svg"
LINEAGE_FILE: Final = "lineage.json"
PROVENANCE_FILE: Final = "provenance.intoto.jsonl"
"""in-toto's name for statements, one DSSE envelope a line
(https://github.com/in-toto/attestation/blob/main/spec/v1/bundle.md)."""
SIGNATURE_FILE: Final = "model.sig"
"""OpenSSF Model Signing's default name (https://github.com/sigstore/model-transparency)."""
BOM_FILE: Final = "bom.cdx.json"
"""A name CycloneDX recognises (https://cyclonedx.org/specification/overview/#recognized-file-patterns)."""
MERGEKIT_FILE: Final = "mergekit_config.yml"
"""mergekit's own name for it in the checkpoints it writes."""

UNSIGNED: Final = (SIGNATURE_FILE, CARD_FILE, ".gitattributes", ".eval_results")
"""What no signature covers: itself, and what the Hub or its users change after publishing."""
EDITABLE: Final = frozenset({CARD_FILE})
"""What may differ from the digest that the lineage record tells of it: people edit cards on the Hub."""
OWN_FILES: Final = frozenset(
    {CARD_FILE, PLOT_FILE, LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE, BOM_FILE, MERGEKIT_FILE}
)
"""All of them: they tell of an output and are no part of the model."""
