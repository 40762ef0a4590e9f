"""One client's connection: octets in, octets out.

Lives here: `BrokerConnection`, its channels, its heartbeats, its end.  Must not know: sockets, Twisted.

Source: AMQP 0-9-1 section 2.2.4 and 1.4; https://www.rabbitmq.com/docs/connection-blocked, /heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from pamqp import commands

from trabbits.testing.broker import basic_methods, exchange_methods, queue_methods, settling
from trabbits.testing.broker.channel import Channel
from trabbits.testing.broker.errors import Refused
from trabbits.testing.broker.fields import Fields
from trabbits.testing.broker.frames import FrameReader
from trabbits.testing.broker.handshake import Handshake, HungUp, LoginRefused
from trabbits.testing.broker.heartbeats import Heartbeats
from trabbits.testing.broker.output import Output
from trabbits.testing.broker.permissions import User
from trabbits.testing.broker.tables import Table
from trabbits.testing.broker.vhost import VirtualHost
from trabbits.wire import constants as c
from trabbits.wire.drain import Drain
from trabbits.wire.encode import connection_close, empty_method, method_frame

if TYPE_CHECKING:
    from trabbits.testing.broker.broker import Broker
    from trabbits.testing.broker.confirms import Confirms

_NOBODY: Final = User("", {})


class State(Enum):
    """How far a connection is."""

    GREETING = "the protocol header is awaited"
    HANDSHAKE = "connection.open is awaited"
    OPEN = "open"
    ENDING = "connection.close was sent, its reply is awaited"
    GONE = "over"


class BrokerConnection:
    """A connection as the broker has it.

    `output` holds what is to be sent, in pieces; whoever sends it calls ``output.clear()``.  `closing` says that the
    transport is to be closed when the output was sent.  `reading` says whether octets are wanted: what is received
    although they are not is kept, so the surroundings should stop reading.
    """

    def __init__(self, broker: Broker, address: str, wake: Callable[[], None]) -> None:
        self.broker = broker
        self.address = address
        self.limits = broker.limits
        self.output = Output(self._sent)
        self.closing = False
        self.state = State.GREETING
        self.client_properties: Table = {}
        self.capabilities: Table = {}
        self.user_name = ""
        self.user: User = _NOBODY
        self.vhost: VirtualHost | None = None
        self.channels: dict[int, Channel] = {}
        self.channel_max = 0
        self.frame_max = c.FRAME_MIN_SIZE
        #: The largest body that fits one frame.
        self.body_room = c.FRAME_MIN_SIZE - c.FRAME_OVERHEAD
        #: Whether deliveries are sent: the client reads, and not too much waits for it.
        self.taking = True
        #: Confirms that go out when what was received is done with.
        self.confirming: list[Confirms] = []
        self._wake = wake
        self._fed = False
        self._writable = True
        self._blocked = False
        self._waiting_octets = 0
        self._greeting = b""
        self._reader = FrameReader(self)
        self._handshake = Handshake(self)
        self._drain = Drain()
        self._heartbeats: Heartbeats | None = None
        self._deadline = broker.timers.at(broker.clock() + broker.limits.handshake, self.drop)

    @property
    def opened(self) -> bool:
        return self.state is State.OPEN

    @property
    def ending(self) -> bool:
        return self.state in (State.ENDING, State.GONE)

    @property
    def reading(self) -> bool:
        return self._writable and not self._blocked

    # What surrounds the connection

    def received(self, octets: bytes) -> None:
        """The client has sent these octets."""
        if self.state is State.GONE:
            return
        self._fed = True
        if self._heartbeats is not None:
            self._heartbeats.heard = True
        self._take(octets)
        self._fed = False
        self.broker.finish()

    def lost(self) -> None:
        """The transport is gone."""
        self._end()
        self.broker.finish()

    def writable(self, writable: bool) -> None:
        """Whether the transport takes more for now; while it does not, deliveries wait in their queues."""
        self._writable = writable
        if not writable:
            self.taking = False
        elif self.state is not State.GONE:
            self._resume()
            self.broker.finish()

    def close(self, code: int, text: str) -> None:
        """Close the connection as an operator would; `text` without the code's name."""
        if not self.ending:
            self._refuse(Refused(code, text))
            self.broker.finish()

    def force_close(self, text: str) -> None:
        """Close the connection with 320, as for maintenance."""
        self.close(c.CONNECTION_FORCED, text)

    def drop(self) -> None:
        """Close the transport without a word."""
        self._end()
        self._call_wake()

    # For its parts

    def capable(self, capability: str) -> bool:
        """Whether the client said that it understands this."""
        value = self.capabilities.get(capability)
        return value is not None and value.value is True

    def send(self, octets: bytes) -> None:
        if self.state is State.GONE:
            return
        output = self.output
        if not output and not self._fed:
            self._wake()
        output.append(octets)

    def send_content(self, octets: bytes) -> None:
        """Send a message; deliveries pause when too much waits."""
        self.send(octets)
        self._waiting_octets += len(octets)
        if self._waiting_octets > self.limits.output:
            self.taking = False

    def agree(self, frame_max: int, channel_max: int, heartbeat: int) -> None:
        """The client has answered what it was offered."""
        self.frame_max, self.channel_max = frame_max, channel_max
        self.body_room = frame_max - c.FRAME_OVERHEAD if frame_max else self.limits.message_size
        self._reader.room = frame_max or self.limits.message_size
        if heartbeat:
            self._heartbeats = Heartbeats(self, heartbeat)

    def enter(self, vhost: VirtualHost) -> None:
        """The client may work."""
        self.vhost = vhost
        self.state = State.OPEN
        self._deadline.cancel()

    # Alarms

    def hold(self) -> None:
        """The client publishes while it should not: it is told, and not read from."""
        self._blocked = True
        if self.capable("connection.blocked"):
            self.send(method_frame(0, commands.Connection.Blocked(self.broker.blocked or "")))

    def blocking_changed(self) -> None:
        """`Broker.blocked` has changed."""
        blocked = self.broker.blocked is not None
        self._reader.alarmed = blocked
        if self._blocked and not blocked and not self.ending:
            self._blocked = False
            if self.capable("connection.blocked"):
                self.send(empty_method(0, c.CONNECTION_UNBLOCKED))
            self._reader.held = False
            self._call_wake()
            self._take(b"")

    # Methods

    def method(self, frame: bytes) -> None:
        """A method on channel 0."""
        if self.state is State.HANDSHAKE:
            self._handshake.method(frame)
            return
        fields = Fields(frame)
        if fields.index == c.CONNECTION_CLOSE:
            self._end()
            self.output.append(empty_method(0, c.CONNECTION_CLOSE_OK))
        elif fields.index == c.CONNECTION_UPDATE_SECRET:
            self.send(empty_method(0, c.CONNECTION_UPDATE_SECRET_OK))
        else:
            text = "unexpected method in connection state running"
            raise Refused(c.CHANNEL_ERROR, text, fields.index >> 16, fields.index & 0xFFFF)

    def channel_method(self, number: int, channel: Channel | None, frame: bytes) -> None:
        """A method on another channel that is not one of the common ones."""
        fields = Fields(frame)
        index = fields.index
        try:
            if channel is None:
                self._open_channel(number, index)
            elif index == c.CHANNEL_OPEN:
                raise Refused(c.CHANNEL_ERROR, "second 'channel.open' seen")
            elif index == c.CHANNEL_CLOSE:
                del self.channels[number]
                channel.close()
            elif index in _METHODS:
                _METHODS[index](channel, fields)
            else:
                raise Refused(c.COMMAND_INVALID, "unimplemented method")
        except Refused as refused:
            if not refused.class_id:
                refused.class_id, refused.method_id = index >> 16, index & 0xFFFF
            raise

    def _open_channel(self, number: int, index: int) -> None:
        if index == c.CHANNEL_CLOSE_OK:
            return
        self.check_count()
        if index != c.CHANNEL_OPEN:
            raise Refused(c.CHANNEL_ERROR, "expected 'channel.open'")
        channel = self.channels[number] = Channel(self, number)
        channel.reply(c.CHANNEL_OPEN_OK, b"\0\0\0\0")

    def check_count(self) -> None:
        """Something came on a channel that is not open: raises `Refused` if there may be no more of them."""
        count, most = len(self.channels), self.channel_max
        # RabbitMQ counts; the specification asks for numbers up to the bound.
        if most and count >= most:
            text = f"number of channels opened ({count}) has reached the negotiated channel_max ({most})"
            raise Refused(c.NOT_ALLOWED, text)

    def leftover(self, number: int, kind: int, frame: bytes) -> None:
        """A frame on a channel that was closed because of a mistake: only the end of it is of interest."""
        if kind != c.FRAME_METHOD or len(frame) < 12:
            return
        index = int.from_bytes(frame[7:11], "big")
        if index == c.CHANNEL_CLOSE:
            self.send(empty_method(number, c.CHANNEL_CLOSE_OK))
        elif index == c.CHANNEL_CLOSE_OK:
            del self.channels[number]

    def refuse(self, number: int, refused: Refused) -> None:
        """What came on a channel is refused: the channel is closed, or the connection."""
        channel = self.channels.get(number)
        if refused.hard or channel is None or not self.opened:
            self._refuse(refused)
        else:
            channel.refuse(refused)

    # Inside

    def _take(self, octets: bytes) -> None:
        if self.state is State.GREETING:
            octets = self._greet(octets)
        if self.state is State.HANDSHAKE or self.state is State.OPEN:
            try:
                self._reader.feed(octets)
            except LoginRefused as refused:
                if self.capable("authentication_failure_close"):
                    self._refuse(Refused(c.ACCESS_REFUSED, refused.text))
                else:
                    self._end()
            except HungUp:
                self._end()
            octets = self._reader.take_rest() if self.ending else b""
        if self.ending and self.state is not State.GONE:
            self._drained(octets)
        if self.confirming:
            confirming, self.confirming = self.confirming, []
            for confirms in confirming:
                confirms.flush()

    def _greet(self, octets: bytes) -> bytes:
        """What follows the protocol header, once that is there."""
        self._greeting += octets
        if not c.PROTOCOL_HEADER.startswith(self._greeting[:8]):
            self.send(c.PROTOCOL_HEADER)
            self._end()
            return b""
        if len(self._greeting) < 8:
            return b""
        rest, self._greeting = self._greeting[8:], b""
        self.state = State.HANDSHAKE
        self._handshake.begin()
        return rest

    def _drained(self, octets: bytes) -> None:
        found = self._drain.feed(octets)
        if found == c.CONNECTION_CLOSE:
            self.output.append(empty_method(0, c.CONNECTION_CLOSE_OK))
        if found is not None:
            self._end()

    def _refuse(self, refused: Refused) -> None:
        """Close the connection, and give the client time to hear of it."""
        self._release()
        self.send(connection_close(refused.code, refused.reply_text, refused.class_id, refused.method_id))
        self.state = State.ENDING
        self._reader.held = True
        self._deadline.cancel()
        self._deadline = self.broker.timers.at(self.broker.clock() + self.limits.closing, self.drop)

    def _end(self) -> None:
        """Nothing is read any more, and the transport shall go."""
        if self.state is not State.GONE:
            self._release()
            self.state = State.GONE
            self.closing = True
            self._reader.held = True
            self._deadline.cancel()
            self.broker.forget(self)

    def _release(self) -> None:
        """Let go of all channels and of the queues that are this connection's own."""
        # What one channel gives back must not go to the next one.
        self.taking = False
        if self._heartbeats is not None:
            self._heartbeats.stop()
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.release()
        self.confirming.clear()
        vhost = self.vhost
        if vhost is not None:
            for queue in [queue for queue in vhost.queues.values() if queue.owner is self]:
                vhost.delete_queue(queue)

    def _sent(self, alone: bytes) -> None:
        """The output was taken."""
        self._waiting_octets = 0
        if self._heartbeats is not None and alone is not c.HEARTBEAT_FRAME:
            self._heartbeats.said = True
        if not self.taking and self._writable:
            self._resume()
            self.broker.finish()

    def _resume(self) -> None:
        self.taking = True
        for channel in list(self.channels.values()):
            channel.resume()

    def _call_wake(self) -> None:
        if not self._fed:
            self._wake()


_METHODS: Final[dict[int, Callable[[Channel, Fields], Any]]] = {
    **exchange_methods.METHODS,
    **queue_methods.METHODS,
    **basic_methods.METHODS,
    **settling.METHODS,
}
