"""The tables of the lineage graph. Rows are added and never changed: triggers of migration 0009 see to that.

Checkpoints have no table: a checkpoint is a digest (`crossfade_core.lineage_graph.checkpoint_digest`), and every
sighting and edge carries it, so that a walk reads edges alone.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Row, String
from sqlalchemy.orm import Mapped, mapped_column

from crossfade_core.lineage_graph import Sighting, SightingKind
from crossfade_stores.table_base import ID_LENGTH, Base

_DIGEST_LENGTH: Final = 64
_ROLE_LENGTH: Final = 16


class SightingRow(Base):
    """A checkpoint at a URI. Jobs may go one day, so nothing refers to them by a foreign key.

    `place_digest` is SHA-256 of `place_of(uri)`: PostgreSQL indexes no text of 4096 characters.
    """

    __tablename__ = "lineage_sightings"
    __table_args__ = (Index(None, "checkpoint", "at"), Index(None, "place_digest"))

    id: Mapped[str] = mapped_column(String(_DIGEST_LENGTH), primary_key=True)
    checkpoint: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    place_digest: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    kind: Mapped[SightingKind]
    uri: Mapped[str] = mapped_column(String(4096))
    at: Mapped[datetime]
    job_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    name: Mapped[str | None] = mapped_column(String(1024))
    lam: Mapped[float | None] = mapped_column(Double)
    copy_of: Mapped[str | None] = mapped_column(String(_ROLE_LENGTH))

    def as_sighting(self: "SightingRow | Row[Any]") -> Sighting:
        """Return the row as the core's record."""
        return Sighting(
            id=self.id,
            checkpoint=self.checkpoint,
            kind=self.kind,
            uri=self.uri,
            at=self.at,
            job_id=self.job_id,
            name=self.name,
            lam=self.lam,
            copy_of=self.copy_of,
        )


class SightingFileRow(Base):
    """One file of a sighting."""

    __tablename__ = "lineage_files"
    __table_args__ = (Index(None, "sha256"),)

    sighting_id: Mapped[str] = mapped_column(
        String(_DIGEST_LENGTH), ForeignKey("lineage_sightings.id"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(1024), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class EdgeRow(Base):
    """One output made of one source; `at` is the output's."""

    __tablename__ = "lineage_edges"
    __table_args__ = (Index(None, "source_checkpoint", "at"), Index(None, "output_checkpoint", "at"))

    output_id: Mapped[str] = mapped_column(String(_DIGEST_LENGTH), ForeignKey("lineage_sightings.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(_ROLE_LENGTH), primary_key=True)
    source_id: Mapped[str] = mapped_column(String(_DIGEST_LENGTH), ForeignKey("lineage_sightings.id"))
    output_checkpoint: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    source_checkpoint: Mapped[str] = mapped_column(String(_DIGEST_LENGTH))
    at: Mapped[datetime]
