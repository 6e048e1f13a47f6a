"""Jobs, outputs, units, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the four tables."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("spec_digest", sa.String(80), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("started_at", time),
        sa.Column("merging_at", time),
        sa.Column("finished_at", time),
        sa.Column("plan_summary", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("control_owner", sa.String(255)),
        sa.Column("control_expires_at", time),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_state_id", "jobs", ["state", "id"])
    op.create_table(
        "outputs",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", name="fk_outputs_job_id"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("lam", sa.Double(), nullable=False),
        sa.Column("name", sa.String(1024), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("uri", sa.String(4096)),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON()),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_outputs"),
    )
    op.create_table(
        "units",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", name="fk_units_job_id"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("shard", sa.JSON(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(255)),
        sa.Column("lease_expires_at", time),
        sa.Column("result", sa.JSON()),
        sa.Column("updated_at", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_units"),
    )
    op.create_index("ix_units_job_id_position", "units", ["job_id", "position"], unique=True)
    op.create_index("ix_units_state_lease_expires_at", "units", ["state", "lease_expires_at"])
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", name="fk_events_job_id"), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "sequence", name="pk_events"),
    )
