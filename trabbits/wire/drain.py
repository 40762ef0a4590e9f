"""Reading a peer to its end: looks for the method that closes a connection and ignores all else.

Lives here: what is scanned after trabbits has sent connection.close, when the specification (1.4.2.9) says that
everything but close and close-ok is to be discarded, content out of order included.
Must not know: what is done about what it finds.
"""

from __future__ import annotations

from struct import Struct

from trabbits.wire.constants import CONNECTION_CLOSE, CONNECTION_CLOSE_OK, FRAME_METHOD

_HEAD = Struct(">BHI").unpack_from
_INDEX = Struct(">I").unpack_from


class Drain:
    """Walks frames without looking into them.  Holds no more than a frame's head: payloads are skipped.

    A stream that is out of step is not noticed; whoever waits must do so with a timeout.
    """

    __slots__ = ("_held", "_skip")

    def __init__(self) -> None:
        self._held = b""
        self._skip = 0

    def feed(self, octets: bytes) -> int | None:
        """Take octets; returns CONNECTION_CLOSE or CONNECTION_CLOSE_OK when that is found, else None."""
        skipped = min(self._skip, len(octets))
        self._skip -= skipped
        octets = self._held + octets[skipped:]
        pos, end = 0, len(octets)
        while end - pos >= 11:
            kind, channel, size = _HEAD(octets, pos)
            if kind == FRAME_METHOD and channel == 0:
                index: int = _INDEX(octets, pos + 7)[0]
                if index in (CONNECTION_CLOSE, CONNECTION_CLOSE_OK):
                    return index
            pos += size + 8
        self._skip += max(0, pos - end)
        self._held = octets[pos:] if pos < end else b""
        return None
