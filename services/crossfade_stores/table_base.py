"""What all tables share: types of columns, names of constraints. The same on SQLite and PostgreSQL.

Every change of a table needs a migration; a test holds the two against each other.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Enum, MetaData
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from crossfade_core.audit import Action
from crossfade_core.job import Approval, JobState, OutputState, Phase, UnitState
from crossfade_core.lineage_graph import SightingKind
from crossfade_core.webhooks import DeliveryState

ID_LENGTH = 40
_JsonObject = JSON(none_as_null=True)


class UtcDateTime(TypeDecorator[datetime]):
    """A time that goes in and comes out with its zone, UTC, also on SQLite, which stores none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any zone into UTC; a time without a zone is a bug of the caller."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value!r} has no zone; the store takes times with their zone only")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's times their zone, and PostgreSQL's (in the session's zone) UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _text_enum(kind: type[StrEnum]) -> Enum:
    # As text, not as PostgreSQL's enum type: a new state must not need a migration.
    return Enum(kind, native_enum=False, length=32, values_callable=lambda states: [state.value for state in states])


class Base(DeclarativeBase):
    """What all tables share: names for constraints, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's own class attribute, read once)
        datetime: UtcDateTime(),
        dict[str, Any]: _JsonObject,
        list[str]: _JsonObject,
        list[dict[str, Any]]: _JsonObject,
        JobState: _text_enum(JobState),
        Phase: _text_enum(Phase),
        OutputState: _text_enum(OutputState),
        Approval: _text_enum(Approval),
        UnitState: _text_enum(UnitState),
        DeliveryState: _text_enum(DeliveryState),
        Action: _text_enum(Action),
        SightingKind: _text_enum(SightingKind),
    }
