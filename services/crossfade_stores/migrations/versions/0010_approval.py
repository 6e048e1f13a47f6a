"""What was decided about an output, by whom and when; small files of outputs that wait for approval."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns and the table; about what was published before, nothing is decided."""
    op.add_column("outputs", sa.Column("staged_at", sa.DateTime(timezone=True)))
    op.add_column("outputs", sa.Column("approval", sa.String(32), nullable=False, server_default="PENDING"))
    op.add_column("outputs", sa.Column("approval_reason", sa.String(1000)))
    op.add_column("outputs", sa.Column("decided_by", sa.String(63)))
    op.add_column("outputs", sa.Column("decided_at", sa.DateTime(timezone=True)))
    op.add_column("outputs", sa.Column("inputs", sa.JSON()))
    op.create_table(
        "staged_contents",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", name="fk_staged_contents_job_id"), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "sha256", name="pk_staged_contents"),
    )
