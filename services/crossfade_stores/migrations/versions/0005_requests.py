"""Requests that carry an idempotency key."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "requests",
        sa.Column("caller", sa.String(63), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("body_digest", sa.String(80), nullable=False),
        sa.Column("attempt", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", name="fk_requests_job_id")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_requests"),
    )
    op.create_index("ix_requests_created_at", "requests", ["created_at"])
