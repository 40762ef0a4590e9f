"""Where a test can make the broker misbehave.

Lives here: `Faults`, which is asked at the places where something could go wrong.  Must not know: what a test wants;
it is subclassed by whoever wants something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trabbits.testing.broker.connection import BrokerConnection


class Faults:
    """Asked by the broker; this one lets everything go its way.

    `watches_frames` is read once for each connection when it is made: if it is False, `frame` is never called and costs
    nothing.
    """

    watches_frames = False

    def connected(self, connection: BrokerConnection) -> None:
        """A client has connected; nothing was said yet.  `connection.drop()` refuses it."""

    def frame(self, connection: BrokerConnection, number: int, octets: bytes) -> bytes | None:
        """The `number`-th whole frame has come from a client, counted from 1; the broker goes on with what is returned.

        None drops the frame.  `connection.drop()` and `connection.close(code, text)` may be called, and `Refused` be
        raised: it closes the channel that the frame is on, or the connection, as any refusal of that code does.
        """
        return octets
