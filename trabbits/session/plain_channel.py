"""One channel of a plain session: its state, and what is under way on it.

Lives here: `PlainChannel`: consumers, deliveries without acknowledgement, publishes without confirm, counted from what
passes.  Must not know: links, how frames travel.

RabbitMQ's tags count up by one per delivery and per publish, so numbers suffice; nothing here decides anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from struct import Struct

from pamqp import commands

from trabbits.session.tally import Tally
from trabbits.wire import constants as amqp
from trabbits.wire.declare import parse_consume
from trabbits.wire.decode import decode_method
from trabbits.wire.errors import Violation

_TAG = Struct(">Q").unpack_from


class ChannelState(Enum):
    """What is known of one channel."""

    OPEN = "open"
    CLIENT_CLOSING = "the client asked to close it"
    UPSTREAM_CLOSING = "the upstream closed it"


class PlainChannel:
    """One channel.  The counters on the hot path are changed by the routes themselves."""

    __slots__ = (
        "_asked",
        "_confirms",
        "_gets",
        "acking",
        "consumers",
        "deliveries",
        "flows",
        "mixed",
        "publishes",
        "state",
    )

    def __init__(self) -> None:
        self.state = ChannelState.OPEN
        self.publishes = Tally()
        self._confirms = False
        self.deliveries = Tally()
        #: Whether deliveries have to be acknowledged, all but those of consumers that said no-ack.
        self.acking = False
        #: Whether it depends on the delivery.
        self.mixed = False
        #: Consumer tags, and whether they said no-ack.
        self.consumers: dict[bytes, bool] = {}
        #: basic.consumes that are not answered: no-ack of each.
        self._asked: deque[bool] = deque()
        #: basic.gets that are not answered: no-ack of each.
        self._gets: deque[bool] = deque()
        #: Kept while queues are probed: whose channel.flow is not answered yet, None for the client's.
        self.flows: deque[Callable[[], None] | None] = deque()

    @property
    def unacknowledged(self) -> int:
        """Deliveries that the client has not settled."""
        return self.deliveries.open if self.acking else 0

    @property
    def unconfirmed(self) -> int:
        """Publishes that the node has not confirmed."""
        return self.publishes.open if self._confirms else 0

    def delivered(self, consumer_tag: bytes) -> None:
        """A delivery was counted on a channel that is `mixed`."""
        if self.consumers.get(consumer_tag):
            self.deliveries.settle(self.deliveries.issued)

    def got(self) -> None:
        """basic.get-ok: one more delivery."""
        self.deliveries.issued += 1
        if self._gets and self._gets.popleft():
            self.deliveries.settle(self.deliveries.issued)

    def client_settled(self, octets: bytes, start: int, *, multiple: bool) -> None:
        """basic.ack, basic.nack or basic.reject of the client's at `start`."""
        self.deliveries.settle(_TAG(octets, start + 11)[0], multiple=multiple)

    def confirmed(self, octets: bytes, start: int) -> None:
        """basic.ack or basic.nack of the node's at `start`."""
        self.publishes.settle(_TAG(octets, start + 11)[0], multiple=bool(octets[start + 19] & 1))

    def client_method(self, index: int, frame: bytes) -> None:
        """A method of the client that goes to the node.  One that cannot be read is the node's to refuse."""
        if index == amqp.CONFIRM_SELECT and not self._confirms:
            # The node counts from here, too.
            self.publishes = Tally()
            self._confirms = True
        elif index == amqp.BASIC_CONSUME:
            try:
                self._consumes(frame)
            except Violation:
                return
        elif index == amqp.BASIC_GET:
            self._gets.append(bool(frame[-2] & 1))
            self._must_acknowledge(no_ack=self._gets[-1])
        elif index == amqp.BASIC_CANCEL:
            cancel = _decoded(frame)
            if isinstance(cancel, commands.Basic.Cancel) and cancel.nowait:
                self.consumers.pop((cancel.consumer_tag or "").encode(), None)

    def link_method(self, index: int, frame: bytes) -> None:
        """A method of the node that goes to the client."""
        if index == amqp.BASIC_CONSUME_OK and self._asked:
            self.consumers[_first_string(frame)] = self._asked.popleft()
            self._look_at_consumers()
        elif index in (amqp.BASIC_CANCEL_OK, amqp.BASIC_CANCEL):
            self.consumers.pop(_first_string(frame), None)
        elif index == amqp.BASIC_GET_EMPTY and self._gets:
            self._gets.popleft()
        elif index == amqp.BASIC_RECOVER_OK:
            # All that was outstanding comes again under new tags.
            self.deliveries.settle_all()

    def _consumes(self, frame: bytes) -> None:
        fields = parse_consume(frame)
        self._must_acknowledge(no_ack=fields.no_ack)
        if fields.nowait:
            self.consumers[fields.consumer_tag] = fields.no_ack
            self._look_at_consumers()
        else:
            self._asked.append(fields.no_ack)
            if fields.consumer_tag:
                # Its deliveries may come before consume-ok.
                self.consumers[fields.consumer_tag] = fields.no_ack
                self._look_at_consumers()

    def _must_acknowledge(self, *, no_ack: bool) -> None:
        if not no_ack and not self.acking:
            self.acking = True
            self.deliveries.settle_all()
            self._look_at_consumers()

    def _look_at_consumers(self) -> None:
        self.mixed = self.acking and any(self.consumers.values())


def _first_string(frame: bytes) -> bytes:
    """The short string that the method's arguments begin with."""
    return frame[12 : 12 + frame[11]]


def _decoded(frame: bytes) -> object:
    try:
        return decode_method(frame)
    except Violation:
        return None
