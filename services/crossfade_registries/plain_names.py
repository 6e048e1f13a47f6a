"""Which names a source of a registry without folders lists as files, and what it says of all others."""


def is_plain(name: str) -> bool:
    """Tell whether a name is that of a file at the top, which any file system and terminal can carry."""
    return name.isprintable() and name not in ("", ".", "..") and "/" not in name and "\\" not in name


def describe_unlisted(path: str) -> str:
    """Say what a file is that is not listed."""
    return "a file in a folder" if "/" in path else "a file whose name is no plain one"
