"""The schema's history, one file a step, run by alembic on the connection that `crossfade_stores.schema` opens."""
