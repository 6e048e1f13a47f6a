"""Names that in-toto gives: of statements, and of what the envelopes around them hold."""

from typing import Final

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
"""Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md."""
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""Source: https://github.com/in-toto/attestation/blob/main/spec/v1/envelope.md."""
