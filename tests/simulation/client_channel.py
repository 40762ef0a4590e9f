"""What a client knows of one channel, and the accounts it keeps of what it is sent on it.

Lives here: `ChannelState`: replies due, consumers and their windows, delivery tags, confirms, returns.
Must not know: how methods are sent, what the client wants next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from tests.simulation.codec import GET_OK, Basic, Whole, decoded, number_of, tag_at
from tests.simulation.failure import demand
from tests.simulation.ledger import Delivery, Message, Transaction
from tests.simulation.naming import seen
from tests.simulation.tap import TapChannel

Act = Callable[[Any], None]


class Expected:
    """A reply that is due.  `tag` is the consumer that the request is about: those may be answered late."""

    __slots__ = ("act", "kinds", "tag")

    def __init__(self, kinds: tuple[type[Any], ...], act: Act, tag: str | None = None) -> None:
        self.kinds = kinds
        self.act = act
        self.tag = tag

    def __repr__(self) -> str:
        return "/".join(kind.__name__ for kind in self.kinds)


class Consumer:
    """A consumer; `limit` is its prefetch count, 0 for none.  `nowait`: nobody says when it begins or ends."""

    __slots__ = ("cancelling", "limit", "no_ack", "queue", "started", "tag", "unacked")

    def __init__(self, tag: str, queue: str, *, no_ack: bool, limit: int, started: bool) -> None:
        self.tag = tag
        self.queue = queue
        self.no_ack = no_ack
        self.limit = 0 if no_ack else limit
        self.unacked = 0
        self.started = started
        self.cancelling = False


class ChannelState:
    """One channel, from channel.open to its end."""

    def __init__(
        self,
        number: int,
        who: str,
        taps: Callable[[int], Iterable[TapChannel]],
        origin: Callable[[int, int], str] | None = None,
    ) -> None:
        self.number = number
        self.who = who
        self._taps = taps
        #: Where copies make it impossible to tell which link a message came from: asked for its name.
        self._origin = origin
        self.opened = False
        self.opening = False
        self.closing = False
        self.expected: deque[Expected] = deque()
        self.consumers: dict[str, Consumer] = {}
        #: Consumers that were cancelled with no answer asked for: what was on its way still comes.
        self.fading: dict[str, Consumer] = {}
        self.outstanding: dict[int, tuple[Delivery, Consumer | None]] = {}
        self.last_tag = 0
        self.prefetch = 0
        #: The limits of the channel that may hold: the last one that was answered, and those asked for since.
        self.limits = [0]
        self.recovering = 0
        self.recovers = 0
        self.confirms = False
        self.published = 0
        self.unconfirmed: dict[int, Message] = {}
        #: What was published on it, by number, and what of that came back.
        self.messages: dict[int, Message] = {}
        self.returned: set[int] = set()
        self.transaction: Transaction | None = None
        #: What was settled in the transaction: tag -> what it was.
        self.settled: dict[int, tuple[Delivery, Consumer | None]] = {}
        #: Whether the client did something that closes the channel.
        self.mistaken = False
        self.last_queue = ""
        #: Exchanges and bindings that it asked for, as `meant`.
        self.topology: list[dict[str, Any]] = []

    @property
    def usable(self) -> bool:
        return self.opened and not self.closing

    def taps(self) -> list[TapChannel]:
        """What the links know of this channel."""
        return list(self._taps(self.number))

    @property
    def refused(self) -> bool:
        """Whether a broker closed the channel, or the client did something that closes it."""
        return self.mistaken or any(each.refused for each in self.taps())

    # Replies

    def answered(self, method: Any, whole: Whole | None = None) -> None:
        """A reply, `whole` if it has content: it must be the next one, but that those about consumers may be late."""
        tag = method.consumer_tag if isinstance(method, Basic.ConsumeOk | Basic.CancelOk) else None
        for place, each in enumerate(self.expected):
            if isinstance(method, each.kinds) and (each.tag is None or each.tag == tag):
                del self.expected[place]
                each.act(method if whole is None else whole)
                return
            text = f"{method.name} on channel {self.number} where {each} was due"
            demand(each.tag is not None, "one reply", text)
        demand(False, "one reply", f"{method.name} on channel {self.number} that nobody asked for")

    def got_close_ok(self) -> None:
        """channel.close-ok: everything asked before is answered, unless a broker closed the channel meanwhile."""
        refused = self.refused
        left = [each for each in self.expected if each.tag is None]
        demand(refused or not left, "one reply", f"{left} of channel {self.number} never came")
        if not refused:
            self.check_passed_on()

    def check_passed_on(self) -> None:
        """All that the client settled and published has reached the brokers."""
        for tap in self.taps():
            for delivery in tap.unsettled.values():
                if delivery.intent is not None and not tap.refused and tap.transaction is None:
                    text = f"{delivery.intent} of m{delivery.message.number} did not reach {tap.tap.name}"
                    demand(not tap.tap.live, "acknowledgements arrive", text)
        if not self.refused:
            self.check_published(self.messages.values())
            self.check_topology()

    def check_topology(self) -> None:
        """Each broker was asked for the exchanges and bindings that it was to be asked for."""
        for tap in self.taps():
            if tap.tap.live:
                due, got = tap.topology_due(self.topology), tap.topology
                where = f"exchanges and bindings of channel {self.number} of {self.who} at {tap.tap.name}"
                demand(due == got, "topology", f"{where}: {due} were due, {got} came")

    # Deliveries

    def delivered(self, whole: Whole) -> None:
        frame = whole.frame
        at = 12 + frame[11]
        tag = frame[12:at].decode()
        consumer = self.consumers.get(tag) or self.fading.get(tag)
        demand(consumer is not None, "known consumers", f"a delivery for {tag!r} on channel {self.number}")
        assert consumer is not None
        demand(consumer.started, "known consumers", f"a delivery for {tag!r} before consume-ok")
        delivery = self._taken(frame[12:at], whole, frame[at + 8 : -1], tag_at(frame, at))
        self._issued(tag_at(frame, at), delivery, consumer)
        if consumer.no_ack:
            return
        consumer.unacked += 1
        text = f"consumer {tag!r} on channel {self.number} holds {consumer.unacked}, its prefetch is {consumer.limit}"
        demand(not consumer.limit or consumer.unacked <= consumer.limit, "prefetch", text)
        held = sum(each is not None for _, each in self.outstanding.values())
        text = f"channel {self.number} holds {held}, its prefetch is {self.limits}"
        demand(0 in self.limits or held <= max(self.limits), "prefetch", text)

    def got(self, whole: Whole, *, no_ack: bool) -> None:
        """basic.get-ok."""
        frame = whole.frame
        delivery = self._taken(None, whole, frame[19:-5], tag_at(frame))
        demand(delivery.no_ack == no_ack, "model", "no-ack of a get")
        self._issued(tag_at(frame), delivery, None)

    def _taken(self, consumer: bytes | None, whole: Whole, rest: bytes, tag: int) -> Delivery:
        number = number_of(whole.header)
        redelivered = bool(rest[0])
        origin = self._origin(self.number, tag) if self._origin is not None else ""
        # The one it came from first; what the session has forgotten by a recover may have been taken for that.
        key = consumer, number
        for tap in sorted(self._taps(self.number), key=lambda tap: (tap.tap.name != origin, not tap.stale(key))):
            delivery = tap.take(key, redelivered, ordered=self._origin is None)
            if delivery is not None:
                where = f"m{number} on channel {self.number}"
                got = rest, seen(whole.header, rest[2 : 2 + rest[1]]), whole.body
                demand(delivery.content == got, "untouched", f"{where} was changed: {delivery.content} is {got}")
                return delivery
        which = "get-ok" if whole.kind == GET_OK else f"delivery for {consumer!r}"
        text = f"{which} of m{number} (redelivered={redelivered}) on channel {self.number}: no link has sent that"
        demand(False, "delivered as often as sent", text)
        raise AssertionError

    def _issued(self, tag: int, delivery: Delivery, consumer: Consumer | None) -> None:
        demand(tag == self.last_tag + 1, "tags", f"tag {tag} behind {self.last_tag} on channel {self.number}")
        self.last_tag = tag
        if not delivery.no_ack:
            self.outstanding[tag] = delivery, consumer

    def settle(self, tag: int, *, multiple: bool, intent: str) -> None:
        """The client settles these."""
        for each in [each for each in self.outstanding if each == tag or (multiple and (each < tag or not tag))]:
            delivery, consumer = self.outstanding.pop(each)
            delivery.intent = intent
            delivery.wished = (*delivery.wished, intent)
            if consumer is not None:
                consumer.unacked -= 1
            if self.transaction is not None:
                self.settled[each] = delivery, consumer

    def recovered(self) -> None:
        """recover-ok: what was outstanding comes again."""
        self.recovering -= 1
        self.recovers += 1
        self.outstanding.clear()
        for consumer in (*self.consumers.values(), *self.fading.values()):
            consumer.unacked = 0
        for tap in self.taps():
            tap.forget_stale(self.recovers)

    def roll_back(self) -> None:
        """tx.rollback: for what is sent behind it, what was settled is outstanding again."""
        settled, self.settled = self.settled, {}
        for delivery, consumer in settled.values():
            delivery.intent = None
            if consumer is not None:
                consumer.unacked += 1
        self.outstanding = dict(sorted({**self.outstanding, **settled}.items()))

    # Publishes

    def was_confirmed(self, frame: bytes, *, rejected: bool) -> None:
        tag, multiple = tag_at(frame), bool(frame[19] & 1)
        covered = [each for each in self.unconfirmed if each == tag or (multiple and each < tag)]
        text = f"tag {tag} of channel {self.number} is confirmed for the second time, or was never published"
        demand(tag in covered, "confirms", text)
        for each in covered:
            message = self.unconfirmed.pop(each)
            number = f"m{message.number}"
            if rejected:
                demand(
                    message.rejected or message.unattached, "confirms", f"{number} is rejected, but no broker did that"
                )
            else:
                demand(message.confirmed, "confirms", f"{number} is confirmed, but no broker has done that")
            if message.returned:
                demand(message.number in self.returned, "returns", f"{number} is confirmed before it is returned")

    def was_returned(self, whole: Whole) -> None:
        method = decoded(whole.frame)
        number = number_of(whole.header)
        message = self.messages.get(number)
        demand(message is not None, "returns", f"m{number} is returned on channel {self.number}, which is another's")
        assert message is not None
        demand(number not in self.returned, "returns", f"m{number} is returned twice")
        self.returned.add(number)
        reason = method.reply_code, method.reply_text
        demand(reason == message.returned, "returns", f"m{number} is returned as {reason}, not {message.returned}")
        came = method.exchange, method.routing_key, whole.header, whole.body
        sent = message.exchange, message.key, message.made("", False), message.body
        demand(came == sent, "untouched", f"m{number} is returned as {came}, not {sent}")

    def check_published(self, messages: Iterable[Message]) -> None:
        """Brokers have taken these, unless they are not committed; and those that came back are here."""
        for message in messages:
            uncommitted = message.transaction is not None and not message.transaction.committed
            if uncommitted or message.unattached:
                continue
            shown = f"m{message.number} on channel {self.number} of {self.who}"
            fate = f"did not reach {message.upstream}" if message.carried else f"was never sent to {message.upstream}"
            demand(message.handled, "published once", f"{shown} {fate}")
            arrived = message.returned is None or message.number in self.returned
            demand(arrived, "returns", f"{shown} came back from {message.upstream}, but not to the client")
