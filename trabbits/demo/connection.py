"""The AMQP client of the demo's applications: one connection, one channel.

Lives here: `AmqpConnection`, what its owner hears (`Listener`), how one is opened (`connect`).  Must not know: what is
published or consumed, who comes back after an end (``clients.py``).

A real client on a real socket, and no shorter way to the proxy: what it sees is what any client sees.  It has no
heartbeats: the proxy is part of the same process.

Source: AMQP 0-9-1 sections 2.2.4 (opening), 2.3.5 (frames), 4.2.6 (content); https://www.rabbitmq.com/docs/confirms.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, Protocol

from pamqp import base, commands
from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from trabbits.wire import constants as c
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import ack_frame, empty_method, frame, method_frame
from trabbits.wire.errors import Violation

#: Seconds for the way to an open channel, for the answer to one request, and for that to connection.close.
OPEN_TIMEOUT: Final = 10.0
ANSWER_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 3.0

_CHANNEL: Final = 1
_HEAD: Final = struct.Struct(">BHI")
_CONTENT: Final = struct.Struct(">HHQH").pack
_BODY_SIZE: Final = struct.Struct(">Q")
#: content_type and delivery_mode: what the messages of the demo have (section 4.2.6.1).
_FLAGS: Final = 0x9000
_JSON: Final = b"\x10application/json"
_TRANSIENT: Final = b"\x01"


class Ended(Exception):
    """The connection is over; the text says why, without the code's name; `code` is the peer's, 0 if it gave none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class Listener(Protocol):
    """Who is told what happens on a connection."""

    def delivered(self, tag: int, body: bytes) -> None:
        """A message has come; `tag` acknowledges it."""

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The `tag`-th publish, or all up to it, was taken over or rejected by the broker."""

    def returned(self, body: bytes) -> None:
        """A mandatory message found no queue.  Its confirm comes behind it."""


class AmqpConnection(TwistedProtocol):
    """A client's connection with its one channel.

    `opened` fires when the channel is open, or fails with `Ended`.  `blocked` says that the broker wants no publishes
    for now, `over` that the connection has ended.
    """

    def __init__(self, user: str, properties: Mapping[str, Any], reactor: Any) -> None:
        self.opened: Deferred[AmqpConnection] = Deferred(lambda _: self._end(Ended("given up")))
        self.blocked = False
        self.over = False
        self.listener: Listener | None = None
        self._reactor = reactor
        self._response = f"\0{user}\0{user}"
        self._properties = {
            **properties,
            "capabilities": {
                "publisher_confirms": True,
                "basic.nack": True,
                "connection.blocked": True,
                "authentication_failure_close": True,
            },
        }
        self._buffer = b""
        self._published = 0
        self._answer: Deferred[base.Frame] | None = None
        self._content: tuple[Any, int] | None = None
        self._body: list[bytes] = []
        self._reason = Ended("the connection was lost")
        #: What comes now is not looked at.
        self._given_up = False
        self._waiting: list[Deferred[Ended]] = []

    # What an owner asks for

    def request(self, method: base.Frame) -> Deferred[base.Frame]:
        """The answer to a method, one request at a time; fails with `Ended`."""
        if self.over:
            return fail(self._reason)
        assert self._answer is None, "an answer is awaited already"
        answer: Deferred[base.Frame] = Deferred()
        self._answer = answer
        self._write(method_frame(_CHANNEL, method))
        return answer.addTimeout(ANSWER_TIMEOUT, self._reactor, lambda result, seconds: self._late(method, seconds))

    def publish(self, exchange: str, key: str, body: bytes) -> int:
        """Publish a mandatory message; its number in confirm mode."""
        self._published += 1
        publish = commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True)
        header = _CONTENT(60, 0, len(body), _FLAGS) + _JSON + _TRANSIENT
        self._write(
            method_frame(_CHANNEL, publish)
            + frame(c.FRAME_HEADER, _CHANNEL, header)
            + frame(c.FRAME_BODY, _CHANNEL, body)
        )
        return self._published

    def acknowledge(self, tag: int) -> None:
        """The message with this tag is done with."""
        self._write(ack_frame(_CHANNEL, tag, False))

    def when_ended(self) -> Deferred[Ended]:
        """Fires with the reason when the connection is gone, however it goes."""
        if self.over:
            return succeed(self._reason)
        ended: Deferred[Ended] = Deferred()
        self._waiting.append(ended)
        return ended

    def close(self) -> Deferred[Ended]:
        """Close cleanly; fires when the connection is gone."""
        if not self.over:
            self._reason = Ended("closed")
            self._write(method_frame(0, commands.Connection.Close(c.REPLY_SUCCESS, "Goodbye", 0, 0)))
            self._stop_timer()
            self._timer = self._reactor.callLater(CLOSE_TIMEOUT, self._abort)
        return self.when_ended()

    # What Twisted calls

    def connectionMade(self) -> None:
        self._timer = self._reactor.callLater(OPEN_TIMEOUT, self._end, Ended(f"no channel within {OPEN_TIMEOUT:g} s"))
        self._write(c.PROTOCOL_HEADER)

    def dataReceived(self, data: bytes) -> None:
        if self._given_up:
            return
        octets = self._buffer + data
        at = 0
        try:
            while len(octets) - at >= _HEAD.size:
                kind, channel, size = _HEAD.unpack_from(octets, at)
                end = at + _HEAD.size + size + 1
                if len(octets) < end:
                    break
                self._received(kind, channel, octets[at:end])
                at = end
        except Violation as violation:
            self._end(Ended(f"what came is not AMQP: {violation.text}"))
        self._buffer = octets[at:]

    def connectionLost(self, reason: Failure = Failure(error.ConnectionDone())) -> None:  # noqa: B008  # Twisted's
        self.over = True
        self._stop_timer()
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.errback(self._reason)
        if not self.opened.called:
            self.opened.errback(self._reason)
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            ended.callback(self._reason)

    # Frames

    def _received(self, kind: int, channel: int, octets: bytes) -> None:
        if octets[-1] != c.FRAME_END:
            raise Violation(c.FRAME_ERROR, "a frame without its end")
        if self._given_up or kind == c.FRAME_HEARTBEAT:
            return
        payload = octets[_HEAD.size : -1]
        if kind == c.FRAME_METHOD:
            self._method(channel, decode_method(octets))
        elif self._content is not None and kind == c.FRAME_HEADER:
            self._content = self._content[0], _BODY_SIZE.unpack_from(payload, 4)[0]
            self._complete()
        elif self._content is not None:
            self._body.append(payload)
            self._complete()

    def _complete(self) -> None:
        """Pass the content on if all of it is there."""
        assert self._content is not None
        method, size = self._content
        if sum(map(len, self._body)) < size:
            return
        body, self._content, self._body = b"".join(self._body), None, []
        if self.listener is None:
            return
        if isinstance(method, commands.Basic.Deliver):
            self.listener.delivered(int(method.delivery_tag or 0), body)
        else:
            self.listener.returned(body)

    def _method(self, channel: int, method: base.Frame) -> None:
        match method:
            case commands.Connection.Close() | commands.Channel.Close():
                self._closed(channel, method)
            case commands.Connection.Blocked() | commands.Connection.Unblocked():
                self.blocked = isinstance(method, commands.Connection.Blocked)
            case commands.Connection.CloseOk():
                self._drop()
            case commands.Basic.Ack() | commands.Basic.Nack():
                if self.listener is not None:
                    taken = isinstance(method, commands.Basic.Ack)
                    self.listener.confirmed(method.delivery_tag, method.multiple, taken)
            case commands.Basic.Cancel():
                self._end(Ended("the broker cancelled the consumer"))
            case commands.Basic.Deliver() | commands.Basic.Return():
                self._content = method, 1 << 64
            case _ if self._answer is not None:
                answer, self._answer = self._answer, None
                answer.callback(method)
            case _:
                self._opening(method)

    def _opening(self, method: base.Frame) -> None:
        """The steps to an open channel."""
        match method:
            case commands.Connection.Start():
                start_ok = commands.Connection.StartOk(self._properties, "PLAIN", self._response, "en_US")
                self._write(method_frame(0, start_ok))
            case commands.Connection.Tune():
                self._write(
                    method_frame(0, commands.Connection.TuneOk(method.channel_max, method.frame_max, 0))
                    + method_frame(0, commands.Connection.Open("/"))
                )
            case commands.Connection.OpenOk():
                self._write(method_frame(_CHANNEL, commands.Channel.Open()))
            case commands.Channel.OpenOk():
                self._stop_timer()
                self.opened.callback(self)
            case _:
                raise Violation(c.COMMAND_INVALID, f"unexpected {method.name}")

    def _closed(self, channel: int, method: Any) -> None:
        """With its one channel gone the connection is of no use."""
        text = method.reply_text.removeprefix(f"{c.REPLY_NAMES.get(method.reply_code, '')} - ")
        self._reason = Ended(text, method.reply_code)
        self._write(empty_method(channel, c.CHANNEL_CLOSE_OK if channel else c.CONNECTION_CLOSE_OK))
        self._drop()

    def _late(self, method: base.Frame, seconds: float) -> Failure:
        self._answer = None
        self._end(Ended(f"no answer to {method.name} within {seconds:g} s"))
        return Failure(self._reason)

    def _end(self, reason: Ended) -> None:
        if not self.over and not self._given_up:
            self._given_up = True
            self._reason = reason
            self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer.active():
            self._timer.cancel()

    def _drop(self) -> None:
        if not self.over:
            transport: Any = self.transport
            transport.loseConnection()

    def _write(self, octets: bytes) -> None:
        if not self.over:
            transport: Any = self.transport
            transport.write(octets)


def connect(
    address: tuple[str, int], user: str, properties: Mapping[str, Any], reactor: Any
) -> Deferred[AmqpConnection]:
    """A connection with an open channel, of a user whose password is its name.

    Fails with `Ended`, or with what kept TCP from connecting.
    """
    endpoint = HostnameEndpoint(reactor, *address, timeout=OPEN_TIMEOUT)
    protocol = AmqpConnection(user, properties, reactor)
    connected: Deferred[AmqpConnection] = connectProtocol(endpoint, protocol)
    return connected.addCallback(lambda connection: connection.opened)
