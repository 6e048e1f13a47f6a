"""`crossfade keygen`: a key pair to sign outputs with."""

from pathlib import Path

import typer

from crossfade_cli.printing import plain, print_json, print_line


def keygen(file: Path, *, as_json: bool) -> None:
    """Make a key pair, and say which key it is and where the public one lies.

    Args:
        file: Gets the private key; the public one lies beside it with `.pub` added.
        as_json: Whether to print one JSON document and nothing else.

    Raises:
        OutputExists: One of the files is there.
        SinkUnavailable: The disk refused.
    """
    from crossfade_signing.key_pairs import make_key_pair

    public_file = file.with_name(f"{file.name}.pub")
    made = make_key_pair(file, public_file)
    if as_json:
        print_json({"key_id": made.key_id, "private_key_file": str(file), "public_key_file": str(public_file)})
        return
    print_line(plain(f"key {made.key_id}; control workers sign with it: CROSSFADE_SIGNING_KEY_FILE={file}"))
    typer.echo(plain(str(public_file)))
