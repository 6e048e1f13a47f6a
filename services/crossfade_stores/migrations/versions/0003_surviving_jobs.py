"""How often a unit failed and its worker died, when it may be tried again; deadlines and priorities of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; units stored before begin anew, jobs stored before have no deadline and the usual priority."""
    op.add_column("units", sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("units", sa.Column("deaths", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("units", sa.Column("not_before", sa.DateTime(timezone=True)))
    op.create_index("ix_units_not_before", "units", ["not_before"])
    op.add_column("jobs", sa.Column("deadline_at", sa.DateTime(timezone=True)))
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_units_job_id_state_position", "units", ["job_id", "state", "position"])
