"""What each output's λ really did."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; outputs published before have no statistics."""
    op.add_column("outputs", sa.Column("statistics", sa.JSON()))
