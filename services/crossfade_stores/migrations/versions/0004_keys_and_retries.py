"""API keys; of a job: who submitted it, what it is the same as, how many units are left, how long shards are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table and the columns; jobs stored before have no submitter, no twin, and nothing kept."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("max_jobs", sa.Integer()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
    )
    op.add_column("jobs", sa.Column("submitted_by", sa.String(63)))
    op.add_column("jobs", sa.Column("merge_digest", sa.String(80)))
    op.add_column("jobs", sa.Column("staged_until", sa.DateTime(timezone=True)))
    op.add_column("jobs", sa.Column("units_left", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "update jobs set units_left = "
        "(select count(*) from units where units.job_id = jobs.id and units.state <> 'DONE')"
    )
    op.create_index("ix_jobs_merge_digest", "jobs", ["merge_digest"])
    op.create_index("ix_jobs_staged_until", "jobs", ["staged_until"])
    op.create_index("ix_jobs_submitted_by_state", "jobs", ["submitted_by", "state"])
