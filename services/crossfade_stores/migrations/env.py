"""What alembic runs for every command: use the connection handed over, in the transaction it is already in."""

from alembic import context

from crossfade_stores.schema import CONNECTION
from crossfade_stores.table_base import Base

context.configure(connection=context.config.attributes[CONNECTION], target_metadata=Base.metadata)
context.run_migrations()
