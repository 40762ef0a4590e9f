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
from typing import Final

from pamqp import commands

from trabbits.session.tally import Tally
from trabbits.wire import constants as amqp
from trabbits.wire.declare import parse_consume
from trabbits.wire.decode import decode_method
from trabbits.wire.errors import Violation

_TAG = Struct(">Q").unpack_from
#: Consumers that are remembered after a cancel that is not answered: their last deliveries are on their way.
_CANCELLED: Final = 16
#: Gaps between settled tags up to which a transaction can be rolled back here; beyond, the count may be too low after.
_GAPS_MAX: Final = 1000


class ChannelState(Enum):
    """What is known of one channel."""

    OPEN = "open"
    CLIENT_CLOSING = "the client asked to close it"
    UPSTREAM_CLOSING = "the upstream closed it"


class PlainChannel:
    """One channel.  The counters on the hot path are changed by the routes themselves."""

    __slots__ = (
        "_asked",
        "_before",
        "_cancelled",
        "_confirms",
        "_gets",
        "_transactional",
        "acking",
        "consumers",
        "deliveries",
        "flows",
        "last_queue",
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
        #: Whether it depends on the delivery, because some consumer said no-ack.
        self.mixed = False
        #: Consumer tags, and whether they said no-ack.
        self.consumers: dict[bytes, bool] = {}
        #: basic.consumes without an answer yet, which may come in another order: their no-acks by tag (empty: any).
        self._asked: dict[bytes, deque[bool]] = {}
        #: Tags of consumers without acknowledgement that were cancelled with no answer asked for.
        self._cancelled: deque[bytes] = deque(maxlen=_CANCELLED)
        #: Whether acknowledgements may be rolled back, and the deliveries as if there were none since the last commit.
        self._transactional = False
        self._before: Tally | None = None
        #: basic.gets that are not answered: no-ack of each.
        self._gets: deque[bool] = deque()
        #: Kept while queues are probed: whose channel.flow is not answered yet, None for the client's.
        self.flows: deque[Callable[[], None] | None] = deque()
        #: The queue declared last, which an empty name means.
        self.last_queue = b""

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
        no_ack = self.consumers.get(consumer_tag)
        if no_ack is None:
            asked = self._asked.get(consumer_tag)
            no_ack = asked[0] if asked else consumer_tag in self._cancelled
        if no_ack:
            self._settled_already()

    def got(self) -> None:
        """basic.get-ok: one more delivery."""
        self.deliveries.issued += 1
        if self._gets and self._gets.popleft():
            self._settled_already()

    def _settled_already(self) -> None:
        """The last delivery needs no acknowledgement."""
        issued = self.deliveries.issued
        self.deliveries.settle(issued)
        if self._before is not None:
            self._before.issued = issued
            self._before.settle(issued)

    def client_settled(self, octets: bytes, start: int, *, multiple: bool) -> None:
        """basic.ack, basic.nack or basic.reject of the client's at `start`."""
        if self._transactional and self._before is None and self.deliveries.gaps <= _GAPS_MAX:
            self._before = self.deliveries.copy()
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
                tag = (cancel.consumer_tag or "").encode()
                if self.consumers.pop(tag, False):
                    self._cancelled.append(tag)
        elif index == amqp.BASIC_RECOVER_ASYNC:
            # As with recover-ok, which it does not have; what is on its way to us is not known.
            self._recovered()
        elif index == amqp.TX_SELECT:
            self._transactional = True
        elif index in (amqp.TX_COMMIT, amqp.TX_ROLLBACK):
            if index == amqp.TX_ROLLBACK and self._before is not None:
                self._before.issued = self.deliveries.issued
                self.deliveries = self._before
            self._before = None

    def link_method(self, index: int, frame: bytes) -> None:
        """A method of the node that goes to the client."""
        if index == amqp.BASIC_CONSUME_OK:
            tag = _first_string(frame)
            wish = tag if tag in self._asked else b""
            asked = self._asked.pop(wish, None) or deque((False,))
            self.consumers[tag] = asked.popleft()
            if asked:
                self._asked[wish] = asked
        elif index in (amqp.BASIC_CANCEL_OK, amqp.BASIC_CANCEL):
            self.consumers.pop(_first_string(frame), None)
        elif index == amqp.BASIC_GET_EMPTY and self._gets:
            self._gets.popleft()
        elif index == amqp.BASIC_RECOVER_OK:
            self._recovered()

    def _recovered(self) -> None:
        """All that was outstanding comes again under new tags."""
        self.deliveries.settle_all()
        self._before = None

    def _consumes(self, frame: bytes) -> None:
        fields = parse_consume(frame)
        self._must_acknowledge(no_ack=fields.no_ack)
        self.mixed |= fields.no_ack
        if fields.nowait:
            self.consumers[fields.consumer_tag] = fields.no_ack
        else:
            self._asked.setdefault(fields.consumer_tag, deque()).append(fields.no_ack)

    def _must_acknowledge(self, *, no_ack: bool) -> None:
        if not no_ack and not self.acking:
            self.acking = True
            self._recovered()


def _first_string(frame: bytes) -> bytes:
    """The short string that the method's arguments begin with."""
    return frame[12 : 12 + frame[11]]


def _decoded(frame: bytes) -> object:
    try:
        return decode_method(frame)
    except Violation:
        return None
