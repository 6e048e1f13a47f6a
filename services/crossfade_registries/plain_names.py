"""Which names are plain: a source of a registry without folders lists these; and which are hidden, or neither."""


def is_plain(name: str) -> bool:
    """Tell whether a name is that of a file at the top, which any file system and terminal can carry."""
    return name.isprintable() and name not in ("", ".", "..") and "/" not in name and "\\" not in name


def is_hidden(path: str) -> bool:
    """Tell whether a path is that of a hidden file at the top, or leads into a hidden folder there."""
    top = path.partition("/")[0]
    return top.startswith(".") and top not in (".", "..")


def describe_unlisted(path: str) -> str:
    """Say what a file is that is not listed."""
    return "a file in a folder" if "/" in path else "a file whose name is no plain one"
