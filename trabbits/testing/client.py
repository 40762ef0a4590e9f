"""A client that remembers everything it was sent, for tests that ask what a client sees.

Lives here: `RecordingClient`.  Must not know: who is at the other end.

It reads only while somebody waits: each request waits for its reply, and `wait_for` for whatever a test wants.  What
comes meanwhile is recorded, so nothing is missed and there is no thread.

Example::

    with RecordingClient.connect(proxy.port) as client:
        client.declare("orders", durable=True)
        client.confirm()
        client.publish("", "orders", b"one", mandatory=True)
        client.consume("orders")
        client.wait_for(lambda record: record.bodies == [b"one"] and record.confirmed == {1})
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pamqp import base, commands, header
from pamqp import frame as codec

from trabbits.testing.raw_client import (
    BODY,
    CAPABILITIES,
    HEADER,
    HEARTBEAT,
    PROTOCOL_HEADER,
    Closed,
    Frame,
    RawClient,
    raw_frame,
)
from trabbits.testing.record import Closing, Confirm, Message, Record

#: Seconds for everything that has no time of its own.
PATIENCE: Final = 10.0
_WITH_CONTENT: Final = (commands.Basic.Deliver, commands.Basic.Return, commands.Basic.GetOk)

M = TypeVar("M", bound=base.Frame)


class ClosedByPeer(Exception):
    """The channel or connection that a request was made on is closed; `closing` is why, None without a word."""

    def __init__(self, closing: Closing | None) -> None:
        super().__init__(str(closing) if closing is not None else "the socket was closed without connection.close")
        self.closing = closing


class RecordingClient:
    """One AMQP connection with channel 1 open.  Not for several threads.

    All methods that wait raise `TimeoutError` after `timeout` seconds, and `ClosedByPeer` when what they were about is
    closed.  For frames that no well-behaved client sends there is `raw`.
    """

    def __init__(self, raw: RawClient, timeout: float = PATIENCE) -> None:
        self.raw = raw
        self.timeout = timeout
        self.record = Record()
        self._published: dict[int, int] = {}
        self._beaten = 0.0
        self._contents: dict[int, _Content] = {}
        #: The methods that somebody waits for, with their channel; and what came.
        self._wanted: tuple[tuple[type[base.Frame], ...], int] | None = None
        self._found: Any = None

    @classmethod
    def connect(
        cls,
        port: int,
        virtual_host: str = "/",
        *,
        host: str = "127.0.0.1",
        user: str = "guest",
        password: str = "guest",
        name: str = "recording client",
        heartbeat: int = 0,
        timeout: float = PATIENCE,
    ) -> RecordingClient:
        """A client after connection.open-ok and channel.open-ok; it calls itself `name`.

        With a `heartbeat`, in seconds, it sends some while it waits for something, and only then.  Raises
        `ClosedByPeer` if it is not let in.
        """
        client = cls(RawClient.dial(host, port, timeout), timeout)
        try:
            client._shake_hands(virtual_host, user, password, name, heartbeat)
            client.open_channel(1)
        except BaseException:
            client.raw.close()
            raise
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Requests

    def call(self, method: base.Frame, reply: type[M], channel: int = 1) -> M:
        """Send a method and wait for its reply; what else comes is recorded."""
        self.raw.send(method, channel=channel)
        found = self._await((reply,), channel)
        assert isinstance(found, reply)
        return found

    def open_channel(self, channel: int) -> None:
        """Open one more channel, or this one again after it was closed."""
        self.record.closings = [each for each in self.record.closings if each.channel != channel]
        self._published.pop(channel, None)
        self.record.unconfirmed.pop(channel, None)
        self.call(commands.Channel.Open(), commands.Channel.OpenOk, channel)

    def declare(self, queue: str = "", channel: int = 1, **options: Any) -> str:
        """queue.declare; the queue's name.  `options` are its fields: ``durable=True``, ``arguments={…}``."""
        method = commands.Queue.Declare(queue=queue, **options)
        return str(self.call(method, commands.Queue.DeclareOk, channel).queue)

    def bind(self, queue: str, exchange: str, routing_key: str = "", channel: int = 1, **options: Any) -> None:
        """queue.bind."""
        method = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key, **options)
        self.call(method, commands.Queue.BindOk, channel)

    def confirm(self, channel: int = 1) -> None:
        """Put a channel into confirm mode."""
        self.call(commands.Confirm.Select(), commands.Confirm.SelectOk, channel)
        self._published[channel] = 0
        self.record.unconfirmed[channel] = set()

    def qos(self, prefetch_count: int, channel: int = 1, *, global_: bool = False) -> None:
        """basic.qos."""
        method = commands.Basic.Qos(prefetch_count=prefetch_count, global_=global_)
        self.call(method, commands.Basic.QosOk, channel)

    def consume(self, queue: str, channel: int = 1, **options: Any) -> str:
        """basic.consume; the consumer tag.  Deliveries are recorded while somebody waits."""
        method = commands.Basic.Consume(queue=queue, **options)
        return str(self.call(method, commands.Basic.ConsumeOk, channel).consumer_tag)

    def cancel(self, consumer_tag: str, channel: int = 1) -> None:
        """basic.cancel."""
        self.call(commands.Basic.Cancel(consumer_tag=consumer_tag), commands.Basic.CancelOk, channel)

    def get(self, queue: str, channel: int = 1, *, no_ack: bool = False) -> Message | None:
        """basic.get; None if the queue is empty."""
        self.raw.send(commands.Basic.Get(queue=queue, no_ack=no_ack), channel=channel)
        found = self._await((commands.Basic.GetOk, commands.Basic.GetEmpty), channel)
        return found if isinstance(found, Message) else None

    # Messages

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        channel: int = 1,
        *,
        mandatory: bool = False,
        **properties: Any,
    ) -> int:
        """basic.publish; in confirm mode the message's number, otherwise 0.  Waits for nothing.

        `properties` are those of the message: ``headers={…}``, ``delivery_mode=2``.
        """
        octets = codec.marshal(header.ContentHeader(0, len(body), commands.Basic.Properties(**properties)), channel)
        self.raw.publish(exchange, routing_key, body, channel=channel, properties=octets[19:-1], mandatory=mandatory)
        if channel not in self._published:
            return 0
        self._published[channel] += 1
        self.record.unconfirmed[channel].add(self._published[channel])
        return self._published[channel]

    def ack(self, message: Message, *, multiple: bool = False) -> None:
        """basic.ack."""
        self.raw.send(commands.Basic.Ack(message.tag, multiple), channel=message.channel)

    def nack(self, message: Message, *, multiple: bool = False, requeue: bool = True) -> None:
        """basic.nack."""
        self.raw.send(commands.Basic.Nack(message.tag, multiple, requeue), channel=message.channel)

    # Waiting

    def wait_for(self, condition: Callable[[Record], Any], timeout: float | None = None, what: str = "") -> Record:
        """Read until `condition` is true of the record; `what` says in words what it is.

        Raises `TimeoutError` after `timeout` seconds, `ClosedByPeer` if the connection ends before.
        """
        self._read_until(lambda: condition(self.record), timeout, what or repr(condition))
        if not condition(self.record):
            raise ClosedByPeer(self.record.closing())
        return self.record

    def wait_for_confirms(self, timeout: float | None = None) -> None:
        """Wait until every published message is confirmed, one way or the other.

        Raises `ClosedByPeer` as soon as the channel of one of them, or the connection, is closed.
        """
        waiting = self.record.unconfirmed

        def closing() -> Closing | None:
            channels = [channel for channel, numbers in waiting.items() if numbers]
            return next((found for each in channels if (found := self._closing(each)) is not None), None)

        self.wait_for(lambda _: not any(waiting.values()) or closing() is not None, timeout, "all confirms")
        if (why := closing()) is not None:
            raise ClosedByPeer(why)

    def wait_for_deliveries(self, count: int, timeout: float | None = None) -> Sequence[Message]:
        """Wait until at least so many messages were delivered in all."""
        return self.wait_for(lambda record: len(record.deliveries) >= count, timeout, f"{count} deliveries").deliveries

    def settle(self, channel: int = 1) -> None:
        """Wait until the peer has done all that it was sent on a channel, by a request that changes nothing."""
        self.call(commands.Basic.Qos(prefetch_count=0, global_=True), commands.Basic.QosOk, channel)

    # Leaving

    def close(self) -> None:
        """connection.close, as far as the peer still answers; never fails."""
        try:
            if not self.record.ended and self.record.closing() is None:
                self.call(commands.Connection.Close(200, "done", 0, 0), commands.Connection.CloseOk, 0)
        except (OSError, TimeoutError, ClosedByPeer, Closed):
            pass
        self.raw.close()

    def drop(self) -> None:
        """Close the socket without a word."""
        self.raw.close()

    # Inside

    def _shake_hands(self, virtual_host: str, user: str, password: str, name: str, heartbeat: int) -> None:
        self.raw.send_octets(PROTOCOL_HEADER)
        self._await((commands.Connection.Start,), 0)
        properties: dict[str, Any] = {"product": "trabbits.testing", "connection_name": name}
        properties["capabilities"] = dict(CAPABILITIES)
        self.raw.send(commands.Connection.StartOk(properties, "PLAIN", f"\0{user}\0{password}", "en_US"))
        tune = self._await((commands.Connection.Tune,), 0)
        self.raw.frame_max = tune.frame_max or self.raw.frame_max
        self.raw.channel_max = tune.channel_max
        self.raw.send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, heartbeat))
        self.raw.heartbeat = heartbeat
        self.raw.open_vhost(virtual_host)
        self._await((commands.Connection.OpenOk,), 0)

    def _await(self, kinds: tuple[type[base.Frame], ...], channel: int) -> Any:
        """The next method of one of these kinds on a channel; a `Message` if it has content."""
        self._wanted, self._found = (kinds, channel), None
        names = " or ".join(kind.name for kind in kinds)
        self._read_until(
            lambda: self._found is not None or self._closing(channel) is not None, None, f"[{channel}] {names}"
        )
        self._wanted = None
        if self._found is None:
            raise ClosedByPeer(self._closing(channel))
        return self._found

    def _closing(self, channel: int) -> Closing | None:
        """Why nothing can come on a channel any more."""
        return self.record.closing(channel) or self.record.closing()

    def _read_until(self, condition: Callable[[], Any], timeout: float | None, what: str) -> None:
        """Read until it is true, or until there is nothing more to read."""
        seconds = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        while not condition() and not self.record.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not within {seconds:g} s: {what}; there is {self.record}")
            try:
                self._beat()
                self._take(self.raw.receive(min(left, self.raw.heartbeat / 2 or left)))
            except TimeoutError:
                pass
            except (Closed, ConnectionError):
                self.record.ended = True

    def _beat(self) -> None:
        now = time.monotonic()
        if self.raw.heartbeat and now - self._beaten >= self.raw.heartbeat / 2:
            self._beaten = now
            self.raw.send_octets(raw_frame(HEARTBEAT, 0, b""))

    def _take(self, frame: Frame) -> None:
        method = frame.method
        if method is not None:
            self.record.methods.append((frame.channel, method))
            if isinstance(method, _WITH_CONTENT):
                self._contents[frame.channel] = _Content(method)
            else:
                self._note(frame.channel, method)
            return
        content = self._contents[frame.channel]
        if content.add(frame):
            del self._contents[frame.channel]
            self._note_message(content.message(frame.channel))

    def _note(self, channel: int, method: base.Frame) -> None:
        record = self.record
        match method:
            case commands.Basic.Ack() | commands.Basic.Nack():
                is_nack = isinstance(method, commands.Basic.Nack)
                record.note_confirm(Confirm(channel, method.delivery_tag, method.multiple, is_nack))
            case commands.Basic.Cancel():
                record.cancelled.append(method.consumer_tag or "")
            case commands.Connection.Blocked():
                record.blocked = True
                record.times_blocked += 1
            case commands.Connection.Unblocked():
                record.blocked = False
            case commands.Channel.Close() | commands.Connection.Close():
                record.closings.append(Closing(channel, method.reply_code or 0, method.reply_text))
                answer = commands.Connection.CloseOk() if channel == 0 else commands.Channel.CloseOk()
                self._answer(answer, channel)
        self._find(channel, method, method)

    def _note_message(self, message: Message) -> None:
        if isinstance(message.method, commands.Basic.Deliver):
            self.record.deliveries.append(message)
        elif isinstance(message.method, commands.Basic.Return):
            self.record.returns.append(message)
        self._find(message.channel, message.method, message)

    def _find(self, channel: int, method: base.Frame, found: Any) -> None:
        if self._wanted is not None and self._wanted[1] == channel and isinstance(method, self._wanted[0]):
            self._wanted, self._found = None, found

    def _answer(self, method: base.Frame, channel: int) -> None:
        try:
            self.raw.send(method, channel=channel)
        except OSError:
            self.record.ended = True


class _Content:
    """A message that is coming."""

    def __init__(self, method: base.Frame) -> None:
        self._method = method
        self._header = b""
        self._pieces: list[bytes] = []
        self._left = 0

    def add(self, frame: Frame) -> bool:
        """One more frame; whether the message is whole now."""
        if frame.kind == HEADER:
            self._header = frame.octets
            self._left = struct.unpack_from(">Q", frame.payload, 4)[0]
        else:
            assert frame.kind == BODY, f"in the middle of a message: {frame}"
            self._pieces.append(frame.payload)
            self._left -= len(frame.payload)
        return not self._left

    def message(self, channel: int) -> Message:
        decoded = codec.unmarshal(self._header)[2]
        assert isinstance(decoded, header.ContentHeader)
        return Message(channel, self._method, decoded.properties, b"".join(self._pieces))
