"""The words of crossfade and its pure rules. Never does I/O; imports pydantic and the standard library only."""
