"""A link on a string transport, played by hand: what the upstream says is written into the test.

Covered with it: everything about a link that needs no network.  Not covered: what RabbitMQ really says
(``test_links_to_rabbitmq.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve
from pamqp import commands, frame
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from trabbits.session.actions import LoginRequest, VirtualHostRequest
from trabbits.upstream.protocol import LinkProtocol
from trabbits.wire.constants import PROTOCOL_HEADER

LOGIN = LoginRequest(
    mechanism="PLAIN",
    username="guest",
    password="guest",
    client_properties={"product": "test", "capabilities": {"basic.nack": True}},
    locale="en_US",
)
VIRTUAL_HOST = VirtualHostRequest(virtual_host="/", frame_max=131072, channel_max=2046, heartbeat=60)
#: Seconds that opening the virtual host may take.
TIMEOUT = 7.0

START = frame.marshal(commands.Connection.Start(server_properties={"product": "Scripted"}), 0)
OPEN_OK = frame.marshal(commands.Connection.OpenOk(), 0)
CLOSE_OK = frame.marshal(commands.Connection.CloseOk(), 0)
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


def method(command: Any, channel: int = 0) -> bytes:
    return frame.marshal(command, channel)


FORCED = method(commands.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0))


def tune(channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 60) -> bytes:
    return method(commands.Connection.Tune(channel_max, frame_max, heartbeat))


def whole(octets: bytes) -> Iterator[bytes]:
    yield octets


def octet_by_octet(octets: bytes) -> Iterator[bytes]:
    for position in range(len(octets)):
        yield octets[position : position + 1]


def in_sevens(octets: bytes) -> Iterator[bytes]:
    for position in range(0, len(octets), 7):
        yield octets[position : position + 7]


class SocketDouble(StringTransport):
    """A string transport that knows how it was closed and whether it reads."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    @property
    def reading(self) -> bool:
        return self.producerState == "producing"


class Receiver:
    """Writes down what a link tells; hands control frames back as the session's scanner does."""

    def __init__(self, link: LinkProtocol | None = None) -> None:
        self.link = link
        self.events: list[tuple[Any, ...]] = []
        self.octets = b""
        self._cut = 0

    def link_received(self, data: bytes) -> None:
        self.octets += data
        if self.link is None:
            return
        while len(self.octets) - self._cut >= 8:
            end = self._cut + 8 + int.from_bytes(self.octets[self._cut + 3 : self._cut + 7], "big")
            if len(self.octets) < end:
                return
            whole_frame, self._cut = self.octets[self._cut : end], end
            if int.from_bytes(whole_frame[1:3], "big") in (0, self.link.own_channel):
                self.link.control_received(whole_frame)

    def link_lost(self, reason: str) -> None:
        self.events.append(("lost", reason))

    def link_closed(self, code: int, text: str, class_id: int, method_id: int) -> None:
        self.events.append(("closed", code, text, class_id, method_id))

    def link_blocked(self, reason: str) -> None:
        self.events.append(("blocked", reason))

    def link_unblocked(self) -> None:
        self.events.append(("unblocked",))

    def link_full(self) -> None:
        self.events.append(("full",))

    def link_drained(self) -> None:
        self.events.append(("drained",))


class ScriptedLink:
    """A link whose other end is the test.  `changes` are to `LOGIN` or `VIRTUAL_HOST`.

    Unless `waits`, the virtual host is opened as soon as the login is through.
    """

    def __init__(self, *, waits: bool = False, **changes: Any) -> None:
        self.clock = Clock()
        self.transport = SocketDouble()
        to_login = {name: changes.pop(name) for name in list(changes) if hasattr(LOGIN, name)}
        self.request = evolve(VIRTUAL_HOST, **changes)
        self.link = LinkProtocol(evolve(LOGIN, **to_login), "primary", "localhost:5672", self.clock)
        self.link.makeConnection(self.transport)
        #: What the handshake came to, as far as it was asked for.
        self.opened: list[Any] = []
        self.handshake: Deferred[Any] = Deferred.fromCoroutine(self.link.log_in())
        if not waits:
            self.handshake.addCallback(lambda _: self.link.open(self.request, TIMEOUT))
        self.handshake.addBoth(self.opened.append)

    def go_on(self) -> ScriptedLink:
        """Open the virtual host, which was waited with."""
        assert self.opened == [None]
        self.opened.clear()
        self.handshake = self.link.open(self.request, TIMEOUT)
        self.handshake.addBoth(self.opened.append)
        return self

    def aborted(self) -> bool:
        return self.transport.aborted

    def gauge(self) -> Any:
        """The producer that the transport tells when its write buffer is full."""
        return self.transport.producer

    def feed(self, *octets: bytes, cut: Callable[[bytes], Iterator[bytes]] = whole) -> ScriptedLink:
        for chunk in cut(b"".join(octets)):
            self.link.dataReceived(chunk)
        return self

    def sent(self) -> list[Any]:
        """The frames sent since the last call, by pamqp; the protocol header first if it is among them."""
        octets = self.transport.value()
        self.transport.clear()
        frames: list[Any] = []
        while octets:
            size, channel, sent = frame.unmarshal(octets)
            frames.append(sent if channel == 0 else (channel, sent))
            octets = octets[size:]
        return frames

    def open(self, **tuning: int) -> ScriptedLink:
        assert self.transport.value() == PROTOCOL_HEADER
        self.feed(START, tune(**tuning), OPEN_OK)
        assert self.opened == [None]
        self.transport.clear()
        return self

    def attach(self) -> Receiver:
        receiver = Receiver(self.link)
        self.link.attach(receiver)
        return receiver

    def lose(self, reason: Exception | None = None) -> ScriptedLink:
        self.link.connectionLost(Failure(reason or ConnectionDone()))
        return self

    def error(self) -> Any:
        """The exception that the handshake ended with."""
        (failure,) = self.opened
        assert isinstance(failure, Failure)
        return failure.value

    def tick(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """What the Deferred fired with, once it has; a failure as its exception."""
    fired: list[Any] = []
    deferred.addCallbacks(fired.append, lambda failure: fired.append(failure.value))
    return fired
