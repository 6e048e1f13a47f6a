"""The lineage graph: sightings of checkpoints, their files, the edges between them; added to and never changed.

Outputs published before have no sightings: of their sources no digests were stored.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_TABLES: Final = ("lineage_sightings", "lineage_files", "lineage_edges")
_WORDS: Final = "rows of the lineage graph are added and never changed or removed"
_POSTGRES_REFUSAL: Final = f"""
    CREATE FUNCTION refuse_lineage_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{_WORDS}' USING ERRCODE = 'restrict_violation'; END $$
"""


def upgrade() -> None:
    """Add the tables, and triggers that refuse to change them."""
    digest = sa.String(64)
    op.create_table(
        "lineage_sightings",
        sa.Column("id", digest, nullable=False),
        sa.Column("checkpoint", digest, nullable=False),
        sa.Column("place_digest", digest, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("uri", sa.String(4096), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job_id", sa.String(40)),
        sa.Column("name", sa.String(1024)),
        sa.Column("lam", sa.Double()),
        sa.Column("copy_of", sa.String(16)),
        sa.PrimaryKeyConstraint("id", name="pk_lineage_sightings"),
    )
    op.create_index("ix_lineage_sightings_checkpoint_at", "lineage_sightings", ["checkpoint", "at"])
    op.create_index("ix_lineage_sightings_place_digest", "lineage_sightings", ["place_digest"])
    op.create_table(
        "lineage_files",
        sa.Column("sighting_id", digest, _sighting("lineage_files", "sighting_id"), nullable=False),
        sa.Column("name", sa.String(1024), nullable=False),
        sa.Column("sha256", digest, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sighting_id", "name", name="pk_lineage_files"),
    )
    op.create_index("ix_lineage_files_sha256", "lineage_files", ["sha256"])
    op.create_table(
        "lineage_edges",
        sa.Column("output_id", digest, _sighting("lineage_edges", "output_id"), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("source_id", digest, _sighting("lineage_edges", "source_id"), nullable=False),
        sa.Column("output_checkpoint", digest, nullable=False),
        sa.Column("source_checkpoint", digest, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("output_id", "role", name="pk_lineage_edges"),
    )
    op.create_index("ix_lineage_edges_source_checkpoint_at", "lineage_edges", ["source_checkpoint", "at"])
    op.create_index("ix_lineage_edges_output_checkpoint_at", "lineage_edges", ["output_checkpoint", "at"])
    _refuse_changes(is_postgres=op.get_bind().dialect.name == "postgresql")


def _sighting(table: str, column: str) -> sa.ForeignKey:
    return sa.ForeignKey("lineage_sightings.id", name=f"fk_{table}_{column}")


def _refuse_changes(*, is_postgres: bool) -> None:
    if is_postgres:
        op.execute(_POSTGRES_REFUSAL)
    for table in _TABLES:
        if is_postgres:
            op.execute(
                f"CREATE TRIGGER {table}_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_lineage_change()"
            )
            continue
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_stay_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END"
            )
