"""How one body passes a server of the tests: how fast, up to where, and with which byte wrong."""

from tests.fakes.http_faults import Action, Disconnect, Slow, Throttle, WrongBytes

_BLOCK_BYTES = 512 * 1024
_BLOCKS_PER_SECOND = 50


class CutError(ConnectionError):
    """The connection is to be cut here, because a fault says so or because the other side is gone."""


class Pace:
    """The shared rate of a direction, and what one body in it is to suffer.

    Args:
        throttle: The rate that all bodies of this direction share.
        fault: What goes wrong with this body; None, and whatever is no matter of bodies, for nothing.
    """

    def __init__(self, throttle: Throttle, fault: Action | None) -> None:
        self._throttles = [throttle]
        if isinstance(fault, Slow):
            self._throttles.append(Throttle(fault.bytes_per_second))
        self._cut_at = fault.after_bytes if isinstance(fault, Disconnect) else None
        self._wrong_at = fault.at if isinstance(fault, WrongBytes) else None
        self._position = 0
        rates = [each.bytes_per_second for each in self._throttles if each.bytes_per_second is not None]
        self.block_bytes = min([_BLOCK_BYTES, *(max(1024, int(rate / _BLOCKS_PER_SECOND)) for rate in rates)])
        """How large blocks may be to pass evenly."""

    def room_bytes(self) -> int:
        """Return how large the next block may be.

        Raises:
            CutError: Here the connection is to be cut.
        """
        if self._cut_at is None:
            return self.block_bytes
        if self._position >= self._cut_at:
            raise CutError
        return min(self.block_bytes, self._cut_at - self._position)

    def pass_block(self, block: memoryview) -> None:
        """Wait until a block may pass, and make the byte wrong that is to be."""
        for throttle in self._throttles:
            throttle.take(len(block))
        if self._wrong_at is not None and 0 <= self._wrong_at - self._position < len(block):
            block[self._wrong_at - self._position] ^= 0xFF
        self._position += len(block)
