"""A channel: what was delivered on it, what was published on it, and what it is in the middle of.

Lives here: `Channel`, its state, and the frames that it sends by itself.
Must not know: what each method does (``*_methods.py``), how octets become frames.

Source: AMQP 0-9-1 section 2.2.2 (channels); https://www.rabbitmq.com/docs/confirms, /consumer-prefetch.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from trabbits.testing.broker.confirms import Confirms
from trabbits.testing.broker.consumers import Consumer
from trabbits.testing.broker.errors import Refused
from trabbits.testing.broker.message import Entry, Message
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.vhost import VirtualHost
from trabbits.wire import constants as c
from trabbits.wire.encode import channel_close, empty_method, frame

if TYPE_CHECKING:
    from trabbits.testing.broker.connection import BrokerConnection
    from trabbits.testing.broker.permissions import Operation
    from trabbits.testing.broker.transactions import Transaction

_FRAME: Final = Struct(">BHI").pack
_TAG_AND_BITS: Final = Struct(">QB").pack
#: The end of a method frame and the head of the content header frame behind it.
_END_AND_HEAD: Final = Struct(">BBHI").pack


class Delivery(NamedTuple):
    """A message that was given to a client and is not settled; `consumer` is None for what it got by basic.get."""

    entry: Entry
    queue: Queue
    consumer: Consumer | None


class Channel:
    """An open channel of a connection.

    `unacked` is in the order of delivery tags.  `closing` means that channel.close was sent and its reply awaited.
    """

    __slots__ = (
        "answers",
        "closing",
        "confirms",
        "connection",
        "consumers",
        "content",
        "global_prefetch",
        "held",
        "last_queue",
        "next_tag",
        "number",
        "prefetch",
        "reply_name",
        "reply_tag",
        "routes",
        "routes_version",
        "transaction",
        "unacked",
    )

    def __init__(self, connection: BrokerConnection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.closing = False
        self.consumers: dict[str, Consumer] = {}
        self.unacked: dict[int, Delivery] = {}
        self.next_tag = 1
        #: The prefetch count of consumers to come.
        self.prefetch = 0
        #: What all consumers of the channel may hold together, 0 for any number, and what they do hold.
        self.global_prefetch = 0
        self.held = 0
        self.confirms: Confirms | None = None
        self.transaction: Transaction | None = None
        #: The queue that a method without a queue's name means.
        self.last_queue = ""
        #: The content that is coming in pieces, None between messages.
        self.content: Content | None = None
        #: The name and the consumer tag under which answers come directly.
        self.reply_name = ""
        self.reply_tag = ""
        #: Answers that the client does not take yet.
        self.answers: deque[Message] = deque()
        #: Where messages went, by the octets of exchange and key, while the virtual host is at `routes_version`.
        self.routes: dict[bytes, list[Queue]] = {}
        self.routes_version = -1

    @property
    def vhost(self) -> VirtualHost:
        vhost = self.connection.vhost
        assert vhost is not None, "channels are opened after the connection"
        return vhost

    def check(self, operation: Operation, kind: str, name: str) -> None:
        """Raise `Refused` 403 unless the user may do that."""
        connection = self.connection
        connection.user.check(connection.user_name, operation, kind, name, self.vhost.name)

    # Sending

    def reply(self, index: int, arguments: bytes = b"") -> None:
        self.connection.send(frame(c.FRAME_METHOD, self.number, index.to_bytes(4, "big") + arguments))

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send a basic.deliver with its content."""
        tag = self.next_tag
        self.next_tag = tag + 1
        if not consumer.no_ack:
            self.unacked[tag] = Delivery(entry, consumer.queue, consumer)
            self.held += 1
        self.send_delivery(consumer.head, tag, entry.redelivered, entry.message)

    def send_delivery(self, head: bytes, tag: int, redelivered: bool, message: Message) -> None:
        """The frames of a basic.deliver; `head` goes up to the consumer tag."""
        self.send_content(head + _TAG_AND_BITS(tag, redelivered) + message.route, message)

    def send_content(self, method: bytes, message: Message) -> None:
        """A method frame with this payload, and the message's content cut to the client's frame size."""
        number = self.number
        header = message.header
        body = message.body
        connection = self.connection
        room = connection.body_room
        size = len(body)
        if 0 < size <= room:
            octets = b"".join(
                (
                    _FRAME(1, number, len(method)),
                    method,
                    _END_AND_HEAD(0xCE, 2, number, len(header)),
                    header,
                    _END_AND_HEAD(0xCE, 3, number, size),
                    body,
                    b"\xce",
                )
            )
        else:
            pieces = [frame(1, number, method), frame(2, number, header)]
            pieces += [frame(3, number, body[at : at + room]) for at in range(0, size, room)]
            octets = b"".join(pieces)
        connection.send_content(octets)

    def deliver_answer(self, message: Message) -> None:
        """Send what was published to this channel's reply name, when the client takes it."""
        self.answers.append(message)
        self.connection.broker.memory.used += message.size
        self._send_answers()

    def _send_answers(self) -> None:
        answers = self.answers
        while answers and self.connection.taking:
            message = answers.popleft()
            self.connection.broker.memory.used -= message.size
            self._send_answer(message)

    def _send_answer(self, message: Message) -> None:
        octets = self.reply_tag.encode("utf-8", "surrogateescape")
        head = c.BASIC_DELIVER.to_bytes(4, "big") + bytes((len(octets),)) + octets
        tag = self.next_tag
        self.next_tag = tag + 1
        self.send_delivery(head, tag, False, message)

    def return_message(self, code: int, text: str, message: Message) -> None:
        """Send a basic.return."""
        said = text.encode()
        method = c.BASIC_RETURN.to_bytes(4, "big") + code.to_bytes(2, "big") + bytes((len(said),)) + said
        self.send_content(method + message.route, message)

    def cancelled(self, consumer: Consumer) -> None:
        """A consumer's queue is gone: tell the client, if it wants to know."""
        self.consumers.pop(consumer.tag, None)
        if self.connection.capable("consumer_cancel_notify"):
            tag = consumer.tag.encode("utf-8", "surrogateescape")
            self.reply(c.BASIC_CANCEL, bytes((len(tag),)) + tag + b"\x01")

    # Ending

    def refuse(self, refused: Refused) -> None:
        """Close the channel because of what the client did."""
        self.release()
        self.closing = True
        self.connection.send(
            channel_close(self.number, refused.code, refused.reply_text, refused.class_id, refused.method_id)
        )

    def close(self) -> None:
        """The client closes the channel."""
        self.release()
        self.connection.send(empty_method(self.number, c.CHANNEL_CLOSE_OK))

    def release(self) -> None:
        """Let go of everything: consumers, what is not settled, what is half published."""
        if self.confirms is not None:
            self.confirms.flush()
        self.content = None
        consumers, self.consumers = list(self.consumers.values()), {}
        for consumer in consumers:
            consumer.queue.remove(consumer)
        self.forget_reply_consumer()
        taken = self.unacked
        if self.transaction is not None:
            taken = {**self.transaction.settled(), **taken}
            self.transaction.roll_back()
            self.transaction = None
        self.unacked = {}
        self.requeue([taken[tag] for tag in sorted(taken)])
        for consumer in consumers:
            # Another consumer may be the active one now.
            consumer.queue.pump()
            self.vhost.delete_if_unused(consumer.queue)

    def forget_reply_consumer(self) -> None:
        if self.reply_name:
            self.connection.broker.reply_consumers.remove(self.reply_name)
            self.reply_name = self.reply_tag = ""
            self.connection.broker.memory.used -= sum(message.size for message in self.answers)
            self.answers.clear()

    # Settling

    def requeue(self, deliveries: list[Delivery]) -> None:
        """Give messages back to their queues; consumers have room again."""
        self.make_room(deliveries)
        by_queue: dict[Queue, list[Entry]] = {}
        for entry, queue, _ in deliveries:
            if entry.position in queue.unacked:
                by_queue.setdefault(queue, []).append(entry)
        for queue, entries in by_queue.items():
            queue.requeue(sorted(entries, key=lambda entry: entry.position))

    def make_room(self, deliveries: list[Delivery]) -> None:
        """Consumers hold these no longer.  What they can take now is up to `pump`."""
        for _, _, consumer in deliveries:
            if consumer is not None:
                consumer.unacked -= 1
                self.held -= 1

    def pump(self, deliveries: list[Delivery]) -> None:
        """Let queues look again at the consumers that held these."""
        if self.global_prefetch:
            self.pump_all()
            return
        for consumer in {consumer.tag: consumer for _, _, consumer in deliveries if consumer is not None}.values():
            if consumer.waiting:
                consumer.queue.resume(consumer)
                consumer.queue.pump()

    def resume(self) -> None:
        """The client takes more again."""
        self._send_answers()
        self.pump_all()

    def pump_all(self) -> None:
        """Let queues look again at all consumers of the channel that wait."""
        for consumer in list(self.consumers.values()):
            if consumer.waiting:
                consumer.queue.resume(consumer)
                consumer.queue.pump()


class Content:
    """A basic.publish whose content is still coming."""

    __slots__ = ("bits", "header", "left", "parts", "route", "size")

    def __init__(self, route: bytes, bits: int) -> None:
        self.route = route
        self.bits = bits
        self.header = b""
        #: Octets of body to come, None while the header is awaited; below 0 once there were too many.
        self.left: int | None = None
        self.size = 0
        self.parts: list[bytes] = []
