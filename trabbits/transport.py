"""Writing to Twisted transports without waiting for the next turn of the reactor.

Lives here: `writer_for` (every write of the hot path), `tune_transport`, and `WriteGauge` for flow control.  Must not
know: AMQP.

Twisted's ``transport.write`` only appends to a list and asks the reactor to be called when the socket is writable:
one more turn of epoll for every message.  A socket whose buffers are empty takes the octets at once instead.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

#: Octets read at once, and how many may wait in a transport's write buffer before its producer is paused.  Measured:
#: from 128 KiB on, glibc maps and unmaps memory for every read, which costs a small message's round trip 35 µs.
BUFFER_SIZE = 64 * 1024
#: So many pieces go to the socket as they are; more are joined first, which is quicker.
_FEW_PIECES = 4


def writer_for(transport: Any) -> Callable[[Sequence[bytes]], None]:
    """The quickest way to write pieces of octets to this transport, for as long as it lives.

    A piece may be a bytearray or a memoryview as well, and must not change any more.  A transport that is not a bare
    TCP or UNIX socket (TLS, test doubles) has no way but its own ``write``.
    """
    if isinstance(transport, Connection) and not transport.TLS:
        return _DirectWriter(transport).write
    return lambda pieces: transport.write(b"".join(pieces))


class _DirectWriter:
    """Sends at once if nothing waits, and leaves what the socket does not take to the reactor.

    The order of octets holds: the direct way is only taken when Twisted holds nothing back, and the rest joins
    Twisted's buffer, so the next call finds that not empty.
    """

    __slots__ = ("_send", "_send_pieces", "_transport")

    def __init__(self, transport: Connection) -> None:
        self._transport = transport
        self._send = transport.socket.send
        self._send_pieces = transport.socket.sendmsg

    def write(self, pieces: Sequence[bytes]) -> None:
        transport = self._transport
        if (
            transport._tempDataBuffer
            or transport.dataBuffer
            or transport.disconnecting
            or transport._aborting
            or not transport.connected
        ):
            transport.write(b"".join(pieces))
            return
        count = len(pieces)
        if count > _FEW_PIECES:
            pieces = (b"".join(pieces),)
            count = 1
        try:
            sent = self._send(pieces[0]) if count == 1 else self._send_pieces(pieces)
        except OSError:
            # It takes nothing now; or it is broken, and the reactor meets the same error where it knows what to do.
            sent = 0
        if sent != (len(pieces[0]) if count == 1 else sum(map(len, pieces))):
            transport.write(b"".join(pieces)[sent:])


def tune_transport(transport: Any) -> None:
    """No delay for small writes, keepalive probes, and large reads; a transport without a socket is left as it is."""
    bottom = transport
    while not isinstance(bottom, Connection):
        # A TLS protocol stands on another transport.
        bottom = getattr(bottom, "transport", None)
        if bottom is None:
            return
    bottom.bufferSize = BUFFER_SIZE
    if bottom.socket.family in (socket.AF_INET, socket.AF_INET6):
        bottom.setTcpNoDelay(True)
        bottom.setTcpKeepAlive(True)


@implementer(IPushProducer)
class WriteGauge:
    """Registered as a transport's streaming producer, it hears how full the write buffer is.

    Twisted repeats itself; `on_full` and `on_drained` are called for changes only.
    """

    def __init__(self, on_full: Callable[[], None], on_drained: Callable[[], None]) -> None:
        self._on_full = on_full
        self._on_drained = on_drained
        self.full = False

    def pauseProducing(self) -> None:
        if not self.full:
            self.full = True
            self._on_full()

    def resumeProducing(self) -> None:
        if self.full:
            self.full = False
            self._on_drained()

    def stopProducing(self) -> None:
        """The connection is gone, which ``connectionLost`` tells."""
