"""The parts of a model card about what lies beside it: how to verify, how to rebuild, what each file is. Pure."""

from collections.abc import Iterable
from typing import Final

from crossfade_core.card_words import code, table
from crossfade_core.checkpoint import INDEX_FILE
from crossfade_core.lineage import COMPANION_FILES, FileFacts
from crossfade_core.own_files import (
    BOM_FILE,
    CARD_FILE,
    LINEAGE_FILE,
    MERGEKIT_FILE,
    PLOT_FILE,
    PROVENANCE_FILE,
    SIGNATURE_FILE,
)
from crossfade_core.source_ref import FILESYSTEM, LocalRef, parse_source

PUBLIC_KEY: Final = "../crossfade.pub"
"""What the commands call the file of the key, which its holder publishes elsewhere."""
_URIS: Final = "`hf://ORG/NAME@COMMIT`, `s3://BUCKET/PREFIX` or `file:///PATH`"

_OWN: Final = {
    PLOT_FILE: "the plot above",
    BOM_FILE: "CycloneDX 1.7 bill of materials: the model, its ancestors, every file with its SHA-256",
    MERGEKIT_FILE: "the same merge for [mergekit](https://github.com/arcee-ai/mergekit), and what it cannot express",
    LINEAGE_FILE: "every file in and out with its SHA-256; what was asked, planned and really done, tensor by tensor",
}
_SIGNED: Final = {
    PROVENANCE_FILE: "SLSA provenance of the build (in-toto, in a signed DSSE envelope)",
    SIGNATURE_FILE: "the signature (OpenSSF Model Signing, a Sigstore bundle)",
}


def verify_section(key_id: str | None) -> str:
    """Tell how to check the files, by our command and by the official one; truthfully that nothing is signed if so.

    Source: `model_signing verify key --help` of model-signing 1.1.
    """
    if key_id is None:
        return f"""## Verify

This checkpoint is **not signed**: its files can be checked against the digests in `{LINEAGE_FILE}`, which finds damage
but does not tell who made it. In a folder that holds all of this repository:

    crossfade verify .

Instead of `.` it takes the URI that it was published at: {_URIS}."""
    return f"""## Verify

Signed with the key whose SHA-256 is {code(key_id)}. In a folder that holds all of this repository, and with that key's
public half beside that folder, got from whoever published this and not from here:

    crossfade verify . --key {PUBLIC_KEY}
    model_signing verify key . --signature {SIGNATURE_FILE} --public_key {PUBLIC_KEY}

The first also checks every digest in `{LINEAGE_FILE}`, and instead of `.` takes the URI that it was published at:
{_URIS}. The second is [OpenSSF's](https://github.com/sigstore/model-transparency). `{CARD_FILE}` may be edited:
no signature covers it."""


def rebuild_section(sources: Iterable[str]) -> str:
    """Tell how to make it again; of sources in folders only their maker knows where those are.

    Args:
        sources: Their pinned URIs.
    """
    refs = map(parse_source, sources)
    roots = sorted({ref.root for ref in refs if isinstance(ref, LocalRef)} - {FILESYSTEM})
    command = " ".join(["crossfade rebuild . --check", *(f"--root {root}=FOLDER" for root in roots)])
    return f"""## Rebuild

    {command}

opens the inputs that `{LINEAGE_FILE}` pins, computes this checkpoint again, and compares it bit for bit."""


def files_section(outputs: FileFacts, *, is_signed: bool) -> str:
    """Tell what each file is.

    Args:
        outputs: Weights, index and files copied along.
        is_signed: Whether a signature and provenance follow.
    """
    copied = [name for name in outputs if name in COMPANION_FILES]
    weights = sorted(name for name in outputs if name.endswith(".safetensors"))
    told = {_some(weights): "the weights", ", ".join(map(code, copied)): "copied from the sources"}
    if INDEX_FILE in outputs:
        told[code(INDEX_FILE)] = "which tensor is in which file of weights"
    told |= {code(name): meaning for name, meaning in (_OWN | (_SIGNED if is_signed else {})).items()}
    rows = [(names, meaning) for names, meaning in told.items() if names]
    return f"## Files\n\n{table(('file', 'what it is'), rows)}"


def _some(names: list[str]) -> str:
    """Name the first and the last of many."""
    return ", ".join(map(code, names)) if len(names) <= 3 else f"{code(names[0])} … {code(names[-1])}"
