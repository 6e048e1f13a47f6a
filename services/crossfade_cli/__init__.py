"""The `crossfade` command: the client at a prompt, the service in one command, and merges without a service."""
