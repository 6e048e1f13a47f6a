"""The signatures that were made for an output."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; outputs published before have none."""
    op.add_column("outputs", sa.Column("signatures", sa.JSON()))
