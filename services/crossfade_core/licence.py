"""Which licence an output's card states: what all of its sources state, and otherwise none. Pure; no legal advice.

The rule, in this order:

1. No source states a licence, or only `unknown`: the output's is `unknown`.
2. All of them state the same, a name for it included where it is `other`: that one. What the Hub does not know as an
   identifier becomes `other` with the stated words as its name, since the Hub refuses a card with anything else.
3. Else (one states none, or two differ): `other`, named `see-sources`. What each source states stands in the card.

So a card never claims a licence that nobody stated, nor that of one parent for what came from two.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Self

from crossfade_core.source_ref import HubRef, parse_source
from crossfade_core.spec import Role

LicenceRecord = Mapping[str, str | None]
"""{"id", "name", "link"} as in `lineage.json`."""

# fmt: off
HUB_LICENCES: Final = frozenset((
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research",
    "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0",
    "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr",
    "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1", "llama3.2",
    "llama3.3", "llama4", "grok2-community", "gemma",
))
# fmt: on
"""What the Hub takes as `license`, besides `unknown` and `other`, which say nothing by themselves.

Source: its validator's own message, as of May 2026 (https://github.com/huggingface/huggingface_hub/issues/4218); the
names are at https://huggingface.co/docs/hub/repositories-licenses.
"""

_HUB: Final = "https://huggingface.co"
_LINK: Final = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]{1,2000}")
_FILE: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._/-]{0,200}")


@dataclass(frozen=True)
class Licence:
    """A licence as a card's front matter states it: an identifier; for `other` its name, and a link to its text."""

    id: str
    name: str | None = None
    link: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything is stated: `unknown` is not."""
        return self.id.lower() != "unknown"

    @property
    def words(self) -> str:
        """What it is called: its name where the identifier is `other`."""
        return self.name or self.id if self.id.lower() == "other" else self.id

    def as_record(self) -> dict[str, str | None]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: LicenceRecord) -> Self:
        """Read back what `as_record` wrote."""
        return cls(record["id"] or "", record.get("name"), record.get("link"))


UNKNOWN: Final = Licence("unknown")
SEE_SOURCES: Final = Licence("other", "see-sources")


def output_licence(sources: Mapping[Role, str], licences: Mapping[Role, LicenceRecord | None]) -> Licence:
    """Return what an output's card states, by the rule above.

    Args:
        sources: The pinned URI of every source.
        licences: What each of them states.

    Returns:
        A licence whose `id` the Hub takes; its `link`, where there is one, is a whole URL.
    """
    stated = {role: licence for role in sources if (licence := stated_licence(licences, role)) is not None}
    if not stated:
        return UNKNOWN
    kinds = {_kind(licence) for licence in stated.values()}
    if len(stated) < len(sources) or len(kinds) > 1:
        return SEE_SOURCES
    ((is_other, words),) = kinds
    if words in HUB_LICENCES and not is_other:
        return Licence(words)
    name = _hub_name(words)
    links = (_link(licence.link, sources[role]) for role, licence in stated.items())
    return Licence("other", name, next(filter(None, links), None)) if name else SEE_SOURCES


def stated_licence(licences: Mapping[Role, LicenceRecord | None], role: Role) -> Licence | None:
    """Return what one source states; None where it states nothing."""
    record = licences.get(role)
    licence = None if record is None else Licence.from_record(record)
    return licence if licence is not None and licence.is_known else None


def _kind(licence: Licence) -> tuple[bool, str]:
    """Return what licences are compared by: whether it is `other`, and its words, none of an `other` without a name."""
    is_other = licence.id.lower() == "other"
    return is_other, ("" if is_other and licence.name is None else licence.words.lower())


def _hub_name(words: str) -> str:
    """Spell a licence's name as the Hub takes it: lower case, digits, '.' and '-'."""
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")


def _link(link: str | None, source: str) -> str | None:
    """Return a link that leads somewhere from another repository too: a file is one of the repository that names it."""
    if link is None or _LINK.fullmatch(link):
        return link
    ref = parse_source(source)
    if isinstance(ref, HubRef) and _FILE.fullmatch(link):
        return f"{_HUB}/{ref.repo}/blob/{ref.revision}/{link}"
    return None
