"""How many requests a key may send in a minute."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; keys without a rate of their own have the server's."""
    op.add_column("api_keys", sa.Column("requests_per_minute", sa.Integer()))
