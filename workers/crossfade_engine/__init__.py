"""The streaming pass: bytes in, every λ out, SHA-256 on the way. No network, no queue, no settings."""
