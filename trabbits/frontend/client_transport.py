"""The client's transport: writing at once, reading or not, and an end that the client still hears.

Lives here: what is done to one Twisted transport of a client.  Must not know: sessions, AMQP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.protocols.policies import ProtocolWrapper

from trabbits.transport import WriteGauge, tune_transport, writer_for


class ClientTransport:
    """A client's connection.  `on_full` and `on_drained` tell how its write buffer fills."""

    def __init__(
        self, transport: Any, clock: IReactorTime, on_full: Callable[[], None], on_drained: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._gauge: WriteGauge | None = WriteGauge(on_full, on_drained)
        self._end: Any = None
        tune_transport(transport)
        self._write = writer_for(transport)
        transport.registerProducer(self._gauge, True)

    @property
    def full(self) -> bool:
        """Whether the client takes nothing more for now."""
        return self._gauge is not None and self._gauge.full

    def write(self, pieces: Sequence[bytes]) -> None:
        """Send octets, at once when nothing waits before them; after `close` they are dropped."""
        if self._gauge is not None:
            self._write(pieces)

    def pause_reading(self) -> None:
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        if self._gauge is not None:
            self._transport.resumeProducing()

    def close(self, within: float) -> None:
        """Send what waits, tell the client that nothing follows, and wait for its end at most so many seconds.

        Closing at once would reset the connection if the client has sent something we did not read, and a reset
        throws away what it has not read yet: the reason for closing, most likely.
        """
        if self._gauge is None:
            return
        self._gauge = None
        self._transport.unregisterProducer()
        # What still comes is read and dropped.
        self._transport.resumeProducing()
        self._end = self._clock.callLater(within, self._transport.abortConnection)
        if _can_half_close(self._transport):
            self._transport.loseWriteConnection()
        else:
            self._transport.loseConnection()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._gauge is not None:
            self._gauge = None
            self._transport.unregisterProducer()
        self._transport.abortConnection()

    def gone(self) -> None:
        """The transport is gone; nothing is left to do on it."""
        self._gauge = None
        if self._end is not None and self._end.active():
            self._end.cancel()


def _can_half_close(transport: Any) -> bool:
    # TLS passes everything it does not know on to the socket below, whose end would come before TLS's own: clients take
    # that for an attack.  Its loseConnection says goodbye and waits for the client's.
    if isinstance(transport, ProtocolWrapper):
        return False
    return bool(ITCPTransport.providedBy(transport)) and hasattr(transport, "loseWriteConnection")
