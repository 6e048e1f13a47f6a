"""Sign each payload of an output once: keys may sign differently each time; what is staged again must be the same."""

import base64
import hashlib

from crossfade_core.job import Output
from crossfade_core.job_store import JobStore
from crossfade_core.ports import Signer


class KeptSignatures:
    """A signer for one output that remembers, in the store, what it has signed.

    Args:
        signer: The key.
        store: Where signatures are kept.
        output: What they are for.
    """

    def __init__(self, signer: Signer, store: JobStore, output: Output) -> None:
        self._signer, self._store, self._output = signer, store, output

    @property
    def key_id(self) -> str:
        """The key's."""
        return self._signer.key_id

    @property
    def public_pem(self) -> bytes:
        """The key's."""
        return self._signer.public_pem

    def sign(self, data: bytes) -> bytes:
        """Return the signature that was first made of `data`.

        Raises:
            SigningFailed: The key cannot be used at this moment.
            StoreUnavailable: The database is away.
        """
        # A key of before must not answer for the present one: its id is part of what the signature is kept by.
        digest = hashlib.sha256(self.key_id.encode() + b":" + data).hexdigest()
        kept = self._output.signatures.get(digest)
        if kept is None:
            made = base64.b64encode(self._signer.sign(data)).decode()
            kept = self._store.keep_signature(self._output.job_id, self._output.position, digest, made)
        return base64.b64decode(kept)
