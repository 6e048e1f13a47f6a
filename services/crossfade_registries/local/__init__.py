"""Folders: read below configured roots, published by one rename."""
