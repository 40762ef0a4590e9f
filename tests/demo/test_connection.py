"""The demo's AMQP client, without a socket: against the embedded broker, octet by octet, and against nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from trabbits.demo.connection import ANSWER_TIMEOUT, CLOSE_TIMEOUT, OPEN_TIMEOUT, AmqpConnection, Ended
from trabbits.testing.broker import Broker
from trabbits.wire.encode import channel_close, frame, method_frame


class Heard:
    """What the connection tells."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def delivered(self, tag: int, body: bytes) -> None:
        self.events.append(("delivered", tag, body))

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        self.events.append(("confirmed", tag, taken))

    def returned(self, body: bytes) -> None:
        self.events.append(("returned", body))


class Wire:
    """A connection and a broker, and what is between them."""

    def __init__(self, user: str = "guest") -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.aborted = False
        self.transport.abortConnection = self.abort  # type: ignore[method-assign]
        self.broker = Broker()
        self.peer = self.broker.connect("test", lambda: None)
        self.connection = AmqpConnection(user, {"product": "test"}, self.clock)
        self.heard = self.connection.listener = Heard()
        self.connection.makeConnection(self.transport)
        self.ended: list[Ended] = []
        self.connection.when_ended().addCallback(self.ended.append)

    def abort(self) -> None:
        self.aborted = True

    def run(self) -> None:
        """Pass octets one by one until nobody says anything more; the broker's end ends the connection."""
        while sent := self.transport.value():
            self.transport.clear()
            self.peer.received(sent)
            answer = b"".join(self.peer.output)
            self.peer.output.clear()
            for octet in answer:
                self.connection.dataReceived(bytes((octet,)))
        if (self.transport.disconnecting or self.aborted) and not self.connection.over:
            self.connection.connectionLost()

    def request(self, method: Any) -> str:
        answers: list[Any] = []
        self.connection.request(method).addBoth(answers.append)
        self.run()
        return str(getattr(answers[0], "name", answers[0]))


@pytest.fixture
def wire() -> Wire:
    """A connection that is open."""
    wire = Wire()
    opened: list[AmqpConnection] = []
    wire.connection.opened.addCallback(opened.append)
    wire.run()
    assert opened == [wire.connection]
    return wire


def test_a_message_goes_its_way(wire: Wire) -> None:
    """Published, confirmed, delivered, acknowledged; one that finds no queue is returned first."""
    assert wire.request(commands.Confirm.Select()) == "Confirm.SelectOk"
    assert wire.request(commands.Queue.Declare(queue="q")) == "Queue.DeclareOk"
    assert wire.request(commands.Basic.Consume(queue="q")) == "Basic.ConsumeOk"
    assert wire.connection.publish("", "q", b"one") == 1
    wire.run()
    assert wire.connection.publish("", "nowhere", b"two") == 2
    wire.run()
    assert sorted(wire.heard.events[:2]) == [("confirmed", 1, True), ("delivered", 1, b"one")]
    assert wire.heard.events[2:] == [("returned", b"two"), ("confirmed", 2, True)]
    wire.connection.acknowledge(1)
    wire.connection.close()
    wire.run()
    assert str(wire.ended[0]) == "closed"
    wire.peer.lost()
    assert wire.broker.vhost().queues["q"].purge() == 0


def test_a_refused_login(wire: Wire) -> None:
    """The code and what the broker says, without the code's name."""
    wire = Wire("stranger")
    failures: list[Any] = []
    wire.connection.opened.addErrback(failures.append)
    wire.run()
    assert failures[0].value.code == 403
    assert str(failures[0].value).startswith("Login was refused")


def test_a_closed_channel_ends_the_connection(wire: Wire) -> None:
    """There is no other; what was asked for fails with the reason."""
    assert "no exchange 'nowhere'" in wire.request(commands.Exchange.Declare(exchange="nowhere", passive=True))
    assert wire.ended[0].code == 404
    assert "no exchange" in wire.request(commands.Confirm.Select())


def test_blocked(wire: Wire) -> None:
    wire.connection.dataReceived(method_frame(0, commands.Connection.Blocked("low on memory")))
    assert wire.connection.blocked
    wire.connection.dataReceived(method_frame(0, commands.Connection.Unblocked()))
    assert not wire.connection.blocked


@pytest.mark.parametrize(
    "octets",
    [
        b"\x01\x00\x01\x00\x00\x00\x00\x00",
        frame(1, 1, b"\xff\xff\xff\xff"),
        method_frame(1, commands.Confirm.SelectOk()),
        method_frame(1, commands.Basic.Cancel("tag")),
    ],
    ids=["no frame end", "unknown method", "unasked answer", "cancelled"],
)
def test_nonsense_ends_the_connection(wire: Wire, octets: bytes) -> None:
    wire.connection.dataReceived(octets)
    assert wire.aborted
    wire.connection.dataReceived(channel_close(1, 404, "later"))
    wire.run()
    assert wire.ended[0].code == 0


def test_every_wait_ends() -> None:
    """For the channel, for an answer, and for the end."""
    wire = Wire()
    wire.connection.opened.addErrback(lambda failure: None)
    wire.clock.advance(OPEN_TIMEOUT)
    assert wire.aborted

    for ask, seconds in (
        (lambda wire: wire.connection.request(commands.Confirm.Select()).addErrback(lambda _: None), ANSWER_TIMEOUT),
        (lambda wire: wire.connection.close(), CLOSE_TIMEOUT),
    ):
        wire = Wire()
        wire.run()
        ask(wire)
        wire.clock.advance(seconds - 0.1)
        assert not wire.aborted
        wire.clock.advance(0.1)
        assert wire.aborted
        wire.connection.connectionLost()
        assert len(wire.ended) == 1
        assert not wire.clock.getDelayedCalls()
