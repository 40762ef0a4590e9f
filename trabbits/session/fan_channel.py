"""One channel of a fan session: everything that is kept for it, and letting held deliveries go.

Lives here: state, and the rules of the prefetch windows.
Must not know: which method does what (``fan.py`` and its neighbours decide).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trabbits.session.confirms import Confirms, LinkConfirms
from trabbits.session.consumers import Consumer, Held
from trabbits.session.deliveries import Deliveries, Entry
from trabbits.session.requests import Requests
from trabbits.session.turns import PROXY, Turns
from trabbits.wire.patch import set_delivery_tag

if TYPE_CHECKING:
    from trabbits.session.fan_get import Get
    from trabbits.session.link import Link
    from trabbits.session.mirroring import Copy


class LinkChannel:
    """What is kept for one channel on one link."""

    __slots__ = ("close_sent", "confirms", "last_tag", "open", "recovering", "reordered")

    def __init__(self) -> None:
        self.open = True
        #: We sent channel.close and wait for close-ok.
        self.close_sent = False
        self.confirms = LinkConfirms()
        #: basic.recover-ok awaited: what is delivered before it will be delivered again.
        self.recovering = 0
        #: The highest of the link's delivery tags that the client was given.
        self.last_tag = 0
        #: Whether the client was ever given a lower tag of the link after a higher one.
        self.reordered = False


class Transaction:
    """What took part since the last commit or rollback (AMQP 0-9-1 section 1.9)."""

    __slots__ = ("copies", "given_back", "links", "settled")

    def __init__(self) -> None:
        #: Deliveries that we gave back, which a rollback undoes as well: link, the link's tag.
        self.given_back: list[tuple[Link, int]] = []
        self.links: set[Link] = set()
        #: Copies of what was published; they take no part.
        self.copies: list[Copy] = []
        self.settled: list[tuple[int, Entry]] = []


class Closing:
    """A channel on its way out.

    `frame` is the channel.close the client is to get when all links are closed, None if the client asked.
    """

    __slots__ = ("frame", "told")

    def __init__(self, frame: bytes | None) -> None:
        self.frame = frame
        #: Whether the client was sent `frame` and owes us its close-ok.
        self.told = False


class FanChannel:
    """The state of one channel."""

    __slots__ = (
        "closing",
        "confirms",
        "consumers",
        "deliveries",
        "flow_asked",
        "get",
        "get_turn",
        "last_queue",
        "limit",
        "links",
        "muted",
        "number",
        "prefetch",
        "recovering",
        "released",
        "requests",
        "special",
        "turns",
        "tx",
        "unacked",
    )

    def __init__(
        self,
        number: int,
        links: list[Link],
        out: list[bytes],
        contended: Callable[[Turns], None],
        released: Callable[[bytes], None],
    ) -> None:
        self.number = number
        #: Told of the method of a delivery that was held and is let go.
        self.released = released
        self.links = {link: LinkChannel() for link in links}
        self.turns = Turns(out, contended)
        self.requests = Requests()
        self.consumers: dict[bytes, Consumer] = {}
        self.deliveries = Deliveries()
        self.confirms: Confirms | None = None
        self.tx: Transaction | None = None
        self.closing: Closing | None = None
        #: Whether the channel ends with an error: the client hears nothing more on it but that.
        self.muted = False
        #: The basic.get under way: nothing else of the client's is taken on this channel until it is answered.
        self.get: Get | None = None
        #: Which link the next basic.get asks first.
        self.get_turn = 0
        #: Whether the common routes must not decide: closing, get or transaction.
        self.special = False
        #: The queue declared last, which an empty name means.
        self.last_queue = b""
        #: Links that asked for channel.flow, in order: the client's flow-ok goes back to them.
        self.flow_asked: list[Link] = []
        #: The prefetch count that new consumers get (basic.qos with global false), 0 for none.
        self.prefetch = 0
        #: The prefetch count of the channel (basic.qos with global true), 0 for none.
        self.limit = 0
        #: Deliveries of consumers that the client has not settled.
        self.unacked = 0
        #: basic.recovers that are not answered: what is delivered anew comes behind recover-ok, as RabbitMQ has it.
        self.recovering = 0

    def mark(self) -> None:
        """Set `special` after something it depends on changed."""
        self.special = self.closing is not None or self.get is not None or self.tx is not None

    def must_hold(self, consumer: Consumer) -> bool:
        """Whether a delivery for this consumer has to wait now."""
        if consumer.held or not consumer.started:
            return True
        return not consumer.no_ack and not self._window_open(consumer)

    def _window_open(self, consumer: Consumer) -> bool:
        return (
            not self.recovering
            and not (consumer.limit and consumer.unacked >= consumer.limit)
            and not (self.limit and self.unacked >= self.limit)
        )

    def issue(self, link: Link, link_tag: int, consumer: Consumer | None, *, no_ack: bool) -> int:
        """The client's tag for a delivery that goes to it now."""
        state = self.links[link]
        if link_tag < state.last_tag:
            state.reordered = True
        else:
            state.last_tag = link_tag
        if no_ack:
            return self.deliveries.issue(None)
        if consumer is not None:
            consumer.unacked += 1
            self.unacked += 1
        return self.deliveries.issue((link, link_tag, consumer))

    def settled(self, entry: Entry) -> None:
        """The client settled this delivery: its place in the windows is free."""
        consumer = entry[2]
        if consumer is not None:
            consumer.unacked -= 1
            self.unacked -= 1

    def forget_unacked(self) -> None:
        """Nothing is unacknowledged any more but what a transaction settled and has not committed."""
        self.unacked = 0
        for consumer in self.consumers.values():
            consumer.unacked = 0
        for _, (_, _, settled) in self.tx.settled if self.tx is not None else ():
            if settled is not None:
                settled.unacked += 1
                self.unacked += 1

    def release(self) -> int:
        """Let go what the windows have room for, in order per consumer; returns how many octets that was."""
        freed = 0
        for consumer in self.consumers.values():
            while consumer.held and consumer.started:
                held = consumer.held[0]
                if held.content is not None or not (consumer.no_ack or self._window_open(consumer)):
                    break
                consumer.held.popleft()
                held.waits = False
                freed += held.counted
                self._deliver(held, consumer)
        return freed

    def _deliver(self, held: Held, consumer: Consumer) -> None:
        tag = self.issue(held.link, held.tag, consumer, no_ack=consumer.no_ack)
        first = bytearray(held.octets[0])
        set_delivery_tag(first, held.tag_offset, tag)
        destination = self.turns.destination(PROXY)
        changed = bytes(first)
        self.released(changed[: int.from_bytes(changed[3:7], "big") + 8])
        destination.append(changed)
        destination.extend(held.octets[1:])

    def unacknowledged(self, link: Link) -> int:
        """Deliveries of this link that the client has not settled, held ones included."""
        held = sum(
            each.link is link and not consumer.no_ack for consumer in self.consumers.values() for each in consumer.held
        )
        return held + sum(entry[0] is link for entry in self.deliveries.outstanding.values())

    def held_back_by(self, link: Link) -> bool:
        """Whether held deliveries wait for the rest of a message of this link."""
        return any(
            consumer.held and consumer.held[0].content is not None and consumer.held[0].link is link
            for consumer in self.consumers.values()
        )

    def holds(self, link: Link, below: int) -> bool:
        """Whether a delivery of this link with a lower tag than `below` waits."""
        return any(
            held.link is link and held.tag < below for consumer in self.consumers.values() for held in consumer.held
        )

    def outstanding(self, link: Link, below: int) -> bool:
        """Whether the client still has a delivery of this link with a lower tag than `below`."""
        return any(entry[0] is link and entry[1] < below for entry in self.deliveries.outstanding.values())
