"""The client's transport: what is told about its write buffer, and its end."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from tests.frontend.doubles import SocketDouble
from trabbits.frontend.client_transport import ClientTransport


class Wrapped:
    """A client's transport with everything around it."""

    def __init__(self, transport: StringTransport | None = None) -> None:
        self.clock = Clock()
        self.transport: Any = transport or SocketDouble()
        self.events: list[str] = []
        self.client = ClientTransport(
            self.transport, self.clock, lambda: self.events.append("full"), lambda: self.events.append("drained")
        )


def test_changes_of_the_write_buffer_are_told_once() -> None:
    wrapped = Wrapped()
    assert not wrapped.client.full
    wrapped.transport.fill()
    wrapped.transport.fill()
    assert wrapped.client.full
    wrapped.transport.drain()
    wrapped.transport.drain()
    assert not wrapped.client.full
    assert wrapped.events == ["full", "drained"]


def test_reading_stops_and_goes_on() -> None:
    wrapped = Wrapped()
    wrapped.client.pause_reading()
    assert not wrapped.transport.reading
    wrapped.client.resume_reading()
    assert wrapped.transport.reading


def test_closing_tells_the_client_that_nothing_follows_and_reads_on() -> None:
    """A reset would throw away what the client has not read; so its octets are read until its own end, or a bound."""
    wrapped = Wrapped()
    wrapped.client.write([b"the reason"])
    wrapped.client.pause_reading()
    wrapped.client.close(within=2.0)
    wrapped.client.write([b"too late"])
    assert wrapped.transport.value() == b"the reason"
    assert wrapped.transport.half_closed
    assert wrapped.transport.reading
    assert wrapped.transport.producer is None
    wrapped.clock.advance(1.9)
    assert not wrapped.transport.aborted
    wrapped.clock.advance(0.2)
    assert wrapped.transport.aborted


def test_closing_while_the_write_buffer_is_full() -> None:
    """Nobody is told any more, and nobody is thought to be full."""
    wrapped = Wrapped()
    wrapped.transport.fill()
    wrapped.client.close(within=2.0)
    assert not wrapped.client.full
    assert wrapped.events == ["full"]


def test_the_clients_own_end_leaves_no_timer() -> None:
    wrapped = Wrapped()
    wrapped.client.close(within=2.0)
    wrapped.client.close(within=1.0)
    assert len(wrapped.clock.getDelayedCalls()) == 1
    wrapped.client.gone()
    assert wrapped.clock.getDelayedCalls() == []
    assert not wrapped.transport.aborted


def test_after_the_end_nothing_is_done() -> None:
    wrapped = Wrapped()
    wrapped.client.gone()
    wrapped.client.write([b"to nobody"])
    wrapped.client.resume_reading()
    wrapped.client.close(within=1.0)
    assert wrapped.transport.value() == b""
    assert not wrapped.transport.half_closed
    assert wrapped.clock.getDelayedCalls() == []


def test_abort() -> None:
    """At once, also while it is being closed in an orderly way."""
    wrapped = Wrapped()
    wrapped.client.abort()
    assert wrapped.transport.aborted
    wrapped.client.write([b"to nobody"])
    assert wrapped.transport.value() == b""
    closing = Wrapped()
    closing.client.close(within=1.0)
    closing.client.abort()
    assert closing.transport.aborted
    closing.client.gone()
    assert closing.clock.getDelayedCalls() == []


class Encrypted(StringTransport):
    """TLS has no half-closed connections."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def test_a_transport_that_cannot_be_half_closed() -> None:
    transport = Encrypted()
    wrapped = Wrapped(transport)
    wrapped.client.write([b"bye"])
    wrapped.client.close(within=1.0)
    assert transport.value() == b"bye"
    assert transport.disconnecting
    wrapped.clock.advance(1.1)
    assert transport.aborted
    assert cast(Any, transport.producer) is None


def test_tls_is_not_passed_by() -> None:
    """A TLS protocol hands on what it does not know itself, and ends in its own way."""
    socket = SocketDouble()
    tls = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
    tls.makeConnection(socket)
    assert tls.loseWriteConnection  # the socket's
    ClientTransport(tls, Clock(), lambda: None, lambda: None).close(within=1.0)
    assert not socket.half_closed
    assert socket.disconnecting
