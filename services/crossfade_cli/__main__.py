"""`python -m crossfade_cli` is `crossfade`."""

from crossfade_cli.main import main

main()
