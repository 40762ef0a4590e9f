"""Frames one by one, for a broker that is made to misbehave.

Lives here: `WatchedReader`, which shows every whole frame to `Faults.frame` first.  Must not know: which faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.testing.broker.errors import Refused
from trabbits.testing.broker.frames import FrameReader

if TYPE_CHECKING:
    from trabbits.testing.broker.connection import BrokerConnection


class WatchedReader(FrameReader):
    """A frame reader whose frames pass by the broker's faults."""

    __slots__ = ("_count", "_faults", "_unseen")

    def __init__(self, connection: BrokerConnection) -> None:
        super().__init__(connection)
        self._faults = connection.broker.faults
        self._count = 0
        self._unseen = b""

    def feed(self, octets: bytes) -> None:
        octets = self._unseen + octets
        at = 0
        while len(octets) - at >= 8 and not self._connection.ending:
            size = int.from_bytes(octets[at + 3 : at + 7], "big")
            if size <= self.room and at + size + 8 > len(octets):
                break
            # A frame that is too large is refused by its head and not waited for.
            frame = octets[at : at + size + 8]
            at += len(frame)
            self._count += 1
            try:
                passed = self._faults.frame(self._connection, self._count, frame)
            except Refused as refused:
                self._connection.refuse(int.from_bytes(frame[1:3], "big"), refused)
            else:
                if passed is not None:
                    super().feed(passed)
        self._unseen = octets[at:]

    def take_rest(self) -> bytes:
        rest, self._unseen = super().take_rest() + self._unseen, b""
        return rest
