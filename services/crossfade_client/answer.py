"""What every answer of the service has in common: it cannot be changed, and fields it has beyond ours are kept."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """A part of an answer.

    A field that only newer services know is kept, as is a word of theirs; only states are a closed list, since who does
    not know a state cannot decide by it.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """Return the answer as the service gave it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
