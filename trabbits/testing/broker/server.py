"""A broker on a TCP port.

Lives here: `BrokerServer` and its protocol: sockets, flow control, timers; the only one of
the broker's files that knows Twisted.  Must not know: AMQP.

Example::

    broker = Broker(clock=reactor.seconds)
    server = BrokerServer(broker, reactor)
    port = server.listen("127.0.0.1", 0)
    ...
    yield server.stop()
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from trabbits.testing.broker.broker import Broker
from trabbits.testing.broker.connection import BrokerConnection
from trabbits.testing.broker.line import Line
from trabbits.transport import WriteGauge, tune_transport, writer_for

#: Seconds that a client has to take the last octets and to close its side.
CLOSE_WITHIN: Final = 5.0


class BrokerProtocol(Protocol):
    """One client's socket."""

    connection: BrokerConnection | Line

    def __init__(self, factory: BrokerFactory) -> None:
        self.factory: BrokerFactory = factory
        self._reading = True
        self._closed = False
        self._end: Any = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        tune_transport(transport)
        self._write = writer_for(transport)
        transport.registerProducer(WriteGauge(lambda: self._writable(False), lambda: self._writable(True)), True)
        peer = transport.getPeer()
        self.connection = self.factory.broker.accept(f"{peer.host}:{peer.port}", self._woken)
        self.factory.protocols.add(self)
        self.factory.settle()

    def dataReceived(self, data: bytes) -> None:
        try:
            self.connection.received(data)
        except Exception:
            # A bug of the broker's.  Others go on.
            self.factory.log.failure("the embedded broker failed on what {client} sent", client=self.connection.address)
            self.connection.drop()
        self.flush()
        self.factory.settle()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._closed = True
        if self._end is not None and self._end.active():
            self._end.cancel()
        self.connection.lost()
        self.factory.settle()
        self.factory.gone(self)

    def flush(self) -> None:
        """Send what the broker has for this client, and read from it or not."""
        connection = self.connection
        output = connection.output
        while output and not self._closed:
            self._write(output)
            output.clear()
        transport: Any = self.transport
        if self._closed:
            return
        if connection.closing:
            self._closed = True
            transport.unregisterProducer()
            transport.resumeProducing()
            self._end = self.factory.reactor.callLater(CLOSE_WITHIN, transport.abortConnection)
            transport.loseConnection()
        elif connection.reading != self._reading:
            self._reading = connection.reading
            if self._reading:
                transport.resumeProducing()
            else:
                transport.pauseProducing()

    def abort(self) -> None:
        """Drop the client at once."""
        transport: Any = self.transport
        transport.abortConnection()

    def _woken(self) -> None:
        self.factory.woken[self] = None

    def _writable(self, writable: bool) -> None:
        self.connection.writable(writable)
        if writable:
            self.flush()
            self.factory.settle()


class BrokerFactory(Factory):
    """Makes a connection of the broker's for every client, and keeps its time."""

    noisy = False

    def __init__(self, broker: Broker, reactor: Any) -> None:
        self.broker = broker
        self.reactor = reactor
        self.log = Logger("trabbits.testing.broker")
        self.protocols: set[BrokerProtocol] = set()
        #: Clients that the broker has something for although they sent nothing.
        self.woken: dict[BrokerProtocol, None] = {}
        self._timer: Any = None
        #: Those who wait until no client is left.
        self._emptied: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> BrokerProtocol:  # type: ignore[override]  # any IProtocol will do
        return BrokerProtocol(self)

    def settle(self) -> None:
        """Send what has come up meanwhile, and come back when the broker wants to."""
        woken = self.woken
        while woken:
            woken.popitem()[0].flush()
        when = self.broker.next_timer()
        timer = self._timer
        if timer is not None and timer.active():
            if when is not None and timer.getTime() <= when:
                return
            timer.cancel()
        if when is not None:
            self._timer = self.reactor.callLater(max(0.0, when - self.broker.clock()), self._advance)

    def gone(self, protocol: BrokerProtocol) -> None:
        """A client's socket is closed."""
        self.protocols.discard(protocol)
        self.woken.pop(protocol, None)
        if not self.protocols and self._emptied:
            # The last clients may have left something to be done later.
            self._stop_time()
            emptied, self._emptied = self._emptied, []
            for empty in emptied:
                empty.callback(None)

    def drop_all(self) -> Deferred[None]:
        """Drop all clients; fires when they are gone.  No time passes for the broker after that."""
        for protocol in list(self.protocols):
            protocol.abort()
        self._stop_time()
        if not self.protocols:
            return succeed(None)
        empty: Deferred[None] = Deferred()
        self._emptied.append(empty)
        return empty

    def _stop_time(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _advance(self) -> None:
        self.broker.advance()
        self.settle()


class BrokerServer:
    """Listens for a broker.  The broker's clock must be the reactor's ``seconds``."""

    def __init__(self, broker: Broker, reactor: Any) -> None:
        self.broker = broker
        self.factory = BrokerFactory(broker, reactor)
        self.port = 0
        self._listening: IListeningPort | None = None

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on this address; the port, which is a free one if 0 was asked for."""
        listening: Any = self.factory.reactor.listenTCP(port, self.factory, interface=host)
        self._listening = listening
        self.port = listening.getHost().port
        return self.port

    @property
    def listening(self) -> bool:
        """Whether new clients can connect."""
        return self._listening is not None

    def stop_listening(self) -> Deferred[None]:
        """Refuse new clients; fires when the socket is closed.  Those that are there stay."""
        listening, self._listening = self._listening, None
        stopped: Deferred[Any] = maybeDeferred(listening.stopListening) if listening is not None else succeed(None)
        return stopped

    def stop(self) -> Deferred[None]:
        """Stop listening and drop all clients; fires when everything is closed."""
        return self.stop_listening().addCallback(lambda _: self.factory.drop_all())
