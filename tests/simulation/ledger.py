"""Every message and what became of it, kept beside everything that is simulated.

Lives here: `Message`, `Delivery`, `Ledger`, and the queues that report what they do with messages.
Must not know: sessions, links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulation.codec import number_of
from tests.simulation.failure import demand
from tests.simulation.naming import Named
from trabbits.testing.broker import publishing, queue_methods
from trabbits.testing.broker.message import Entry
from trabbits.testing.broker.message import Message as BrokerMessage
from trabbits.testing.broker.queue import Queue

#: Makes the payload of a content header for an upstream whose names of queues have a prefix, with BCC or without.
Made = Callable[[str, bool], bytes]
#: The queues that there are, and those that a message came to.
Routed = tuple[frozenset[str], set[str]]

#: The highest channel that clients use; above are trabbits' own.
CLIENT_CHANNELS = 99

if TYPE_CHECKING:
    from tests.simulation.tap import TapChannel


class Transaction:
    """A transaction of a client; `committed` when tx.commit was sent."""

    __slots__ = ("committed", "publishes")

    def __init__(self) -> None:
        self.committed = False
        self.publishes: list[Message] = []


class Message:
    """A message as a client published it."""

    __slots__ = (
        "body",
        "carried",
        "channel",
        "confirmed",
        "copied",
        "copies",
        "exchange",
        "gone",
        "handled",
        "header",
        "key",
        "made",
        "mandatory",
        "mirrored",
        "named",
        "number",
        "rejected",
        "returned",
        "transaction",
        "unattached",
        "upstream",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        upstream: str,
        exchange: str,
        key: str,
        made: Made,
        named: Named,
        body: bytes,
        *,
        mandatory: bool,
    ) -> None:
        self.number = number
        #: Which upstream it is for; whether the session has a link to it.
        self.upstream = upstream
        self.unattached = False
        self.exchange = exchange
        self.key = key
        #: The payload of the content header: the client's, and that with other names of queues.
        self.header = made("", True)
        self.made = made
        self.named = named
        self.body = body
        self.mandatory = mandatory
        self.transaction: Transaction | None = None
        #: The client's channel.
        self.channel = 0
        #: Whether it was sent to its upstream.
        self.carried = False
        #: How often a broker took it, and what the broker said to trabbits.
        self.handled = 0
        #: The upstreams that were sent a copy, and those that took it.
        self.copied: list[str] = []
        self.mirrored: list[str] = []
        self.confirmed = self.rejected = False
        #: Code and text that it came back to trabbits with.
        self.returned: tuple[int, str] | None = None
        #: Places in queues it came to, and how each ended: broker, queue -> how often.
        self.copies = 0
        self.gone = 0


class Delivery:
    """A message that a broker has sent on a link."""

    __slots__ = (
        "channel",
        "consumer",
        "content",
        "intent",
        "message",
        "no_ack",
        "reached",
        "redelivered",
        "stale",
        "tag",
        "wished",
    )

    def __init__(
        self,
        channel: TapChannel,
        tag: int,
        message: Message,
        consumer: bytes | None,
        content: tuple[bytes, bytes, bytes],
        *,
        no_ack: bool,
    ) -> None:
        self.channel = channel
        self.tag = tag
        self.message = message
        #: The consumer tag, None for basic.get.
        self.consumer = consumer
        #: What the client must get: redelivered, exchange and key as octets; the payload of the header; the body.
        self.content = content
        self.redelivered = bool(content[0][0])
        self.no_ack = no_ack
        #: What the client wants: "ack", "reject" or "requeue"; and all it ever wanted, before a rollback for example.
        self.intent: str | None = None
        self.wished: tuple[str, ...] = ()
        #: Whether the client has it.
        self.reached = False
        #: The number of the basic.recover after which the client will not get it any more, 0 for none.
        self.stale = 0


class Ledger:
    """All messages of a run, and how often what happened to them."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        #: What the names of all queues begin with, by upstream.
        self.prefixes: dict[str, str] = {}
        #: Messages in queues: (broker, queue, number) -> how many.
        self.queued: dict[tuple[str, str, int], int] = {}
        #: How often what happened.
        self.counts: dict[str, int] = {}

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + times

    def new(
        self, upstream: str, exchange: str, key: str, made: Made, named: Named, body: bytes, *, mandatory: bool
    ) -> Message:
        number = len(self.messages) + 1
        message = Message(number, upstream, exchange, key, made, named, body, mandatory=mandatory)
        self.messages[number] = message
        return message

    def of(self, header: bytes, where: str) -> Message:
        """The message with this content header."""
        message = self.messages.get(number_of(header))
        demand(message is not None, "no inventions", f"a message that nobody published, {where}: {header!r}")
        assert message is not None
        return message

    # What brokers do

    def handled(self, broker: str, message: BrokerMessage, queues: Routed | None, *, copy: bool) -> None:
        """A broker routes a message to queues; None: it decided earlier to which."""
        found = self.of(message.header, f"at {broker}")
        transaction = found.transaction
        prefix = self.prefixes[broker]
        if queues is not None and not found.exchange:
            self._reaches(found, prefix, queues, f"m{found.number} at {broker}")
        demand(transaction is None or transaction.committed, "transactions", f"m{found.number} was not committed")
        if copy:
            self.count("copy")
            found.mirrored.append(broker)
            return
        found.handled += 1
        demand(found.upstream == broker, "right upstream", f"m{found.number} for {found.upstream} is at {broker}")
        demand(found.handled == 1, "published once", f"m{found.number} is published twice")
        demand(found.body == message.body, "untouched", f"m{found.number} arrived with another body")
        header = found.made(prefix, False)
        demand(header == message.header, "untouched", f"m{found.number}: other properties, {message.header!r}")

    def _reaches(self, message: Message, prefix: str, queues: Routed, shown: str) -> None:
        """A message to the default exchange comes to the queues that it names."""
        there, reached = queues
        wanted = {prefix + key for key in (message.key, *message.named.cc, *message.named.bcc)} & there
        if message.named.cc or message.named.bcc:
            self.count("further keys")
        demand(wanted == reached, "right queues", f"{shown} for {sorted(wanted)} comes to {sorted(reached)}")

    def came(self, broker: str, queue: str, message: BrokerMessage) -> None:
        number = number_of(message.header)
        key = broker, queue, number
        self.queued[key] = self.queued.get(key, 0) + 1
        if number in self.messages:
            self.messages[number].copies += 1

    def went(self, broker: str, queue: str, message: BrokerMessage, how: str) -> None:
        number = number_of(message.header)
        key = broker, queue, number
        left = self.queued[key] = self.queued.get(key, 0) - 1
        demand(left >= 0, "conservation", f"m{number} went from {queue} at {broker} ({how}) more often than it came")
        self.count(f"message {how}")
        if number in self.messages:
            self.messages[number].gone += 1


_ledger: Ledger = Ledger()


class ReportingQueue(Queue):
    """A queue whose messages are in the ledger."""

    broker = ""

    def publish(self, message: BrokerMessage, ttl: float | None) -> bool:
        _ledger.came(self.broker, self.name, message)
        taken = super().publish(message, ttl)
        if not taken:
            _ledger.went(self.broker, self.name, message, "refused by a full queue")
        return taken

    def get(self, keep: bool) -> Entry | None:
        entry = super().get(keep)
        if entry is not None and not keep:
            _ledger.went(self.broker, self.name, entry.message, "got without ack")
        return entry

    def settle(self, entry: Entry) -> None:
        if entry.position in self.unacked:
            _ledger.went(self.broker, self.name, entry.message, "acknowledged")
        super().settle(entry)

    def discard(self, entry: Entry) -> None:
        if entry.position in self.unacked:
            _ledger.went(self.broker, self.name, entry.message, "rejected")
        super().discard(entry)

    def purge(self) -> int:
        how = "gone with its queue" if self.deleted else "purged"
        for entry in self.ready:
            _ledger.went(self.broker, self.name, entry.message, how)
        return super().purge()

    def delete(self) -> None:
        for entry in self.unacked.values():
            _ledger.went(self.broker, self.name, entry.message, "gone with its queue")
        super().delete()

    def _give(self, consumer: Any, entry: Entry) -> None:
        if consumer.no_ack:
            _ledger.went(self.broker, self.name, entry.message, "delivered without ack")
        super()._give(consumer, entry)

    def _drop_head(self, reason: str) -> None:
        _ledger.went(self.broker, self.name, self.ready[0].message, f"dropped: {reason}")
        super()._drop_head(reason)


_hand_out = publishing._hand_out


def _handled(channel: Any, message: BrokerMessage, queues: list[Queue], *rest: Any) -> None:
    copy = channel.number > CLIENT_CHANNELS
    routed = None
    if channel.transaction is None:
        routed = frozenset(channel.vhost.queues), {queue.name for queue in queues}
    _ledger.handled(channel.connection.broker.name, message, routed, copy=copy)
    _hand_out(channel, message, queues, *rest)


def _queue(name: str, **options: Any) -> ReportingQueue:
    queue = ReportingQueue(name, **options)
    # Which broker it is, its clock can tell.
    queue.broker = options["clock"].__self__.name
    return queue


@contextmanager
def reporting_to(ledger: Ledger) -> Iterator[None]:
    """Brokers report to this ledger."""
    global _ledger
    _ledger = ledger
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue_methods, "Queue", _queue)
        patch.setattr(publishing, "_hand_out", _handled)
        yield
