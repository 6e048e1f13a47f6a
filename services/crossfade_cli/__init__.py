"""The `crossfade` command: a client of the REST API, the service in one command, and merges without a service."""
