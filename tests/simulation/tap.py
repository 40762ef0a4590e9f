"""What passes on one link, understood: which delivery is which message, what is settled, confirmed, returned.

Everything that trabbits sends to a broker is held against what the client wanted, at once: a failure is shown where it
happens, not where it hurts.
Lives here: `Tap`, `TapChannel`.  Must not know: trabbits' own state.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tests.simulation.bindings import METHODS, as_clients_say, meant, wanted
from tests.simulation.codec import (
    ACK,
    DELIVER,
    GET_OK,
    NACK,
    PUBLISH,
    REJECT,
    RETURN,
    Basic,
    Channel,
    Confirm,
    Contents,
    Queue,
    Tx,
    Whole,
    decoded,
    describe,
    short,
    tag_at,
)
from tests.simulation.failure import demand
from tests.simulation.ledger import Delivery, Ledger, Message
from tests.simulation.naming import RENAMED, Named, seen

#: (consumer tag or None, number of the message)
Key = tuple["bytes | None", int]


class TapChannel:
    """One channel on one link, from channel.open on."""

    def __init__(self, tap: Tap, number: int) -> None:
        self.tap = tap
        self.number = number
        #: Deliveries that trabbits has not settled, by the broker's tag.
        self.unsettled: dict[int, Delivery] = {}
        #: Deliveries that the client does not have.
        self.pending: dict[Key, list[Delivery]] = {}
        #: Consumer tags -> no-ack.
        self.consumers: dict[bytes, bool] = {}
        self.gets: deque[bool] = deque()
        self.last_tag = 0
        #: The tag of the delivery whose content is still coming, and whether trabbits gave it back already.
        self.coming = 0
        self.given_back = False
        #: The last tag that reached the client, by consumer.
        self.reached: dict[bytes | None, int] = {}
        #: Publishes since confirm.select that are not confirmed, by the broker's count.
        self.confirming: dict[int, Message] | None = None
        self.published = 0
        self.last_message = 0
        self.recovers = 0
        #: What was settled since the last commit.
        self.transaction: dict[int, Delivery] | None = None
        #: The queue declared last, as the broker calls it.
        self.last_queue = ""
        #: Exchanges and bindings that the broker was asked for, as `meant`, with the clients' names.
        self.topology: list[dict[str, Any]] = []
        #: Whether deliveries on it can still be expected to reach the client.
        self.live = True
        #: Whether the broker closed it.
        self.refused = False
        #: Whether the client has misbehaved: refusals say nothing about trabbits.
        self.mistaken = False

    def take(self, key: Key, redelivered: bool, *, ordered: bool) -> Delivery | None:
        """The delivery that the client has got, if the link had such a one."""
        found = self.pending.get(key)
        if not found:
            return None
        for at, delivery in enumerate(found):
            if delivery.redelivered == redelivered:
                del found[at]
                if not found:
                    del self.pending[key]
                delivery.reached = True
                before = self.reached.get(delivery.consumer, 0)
                demand(
                    before < delivery.tag or not ordered,
                    "order",
                    f"m{key[1]} reaches the client behind what came later",
                )
                self.reached[delivery.consumer] = delivery.tag
                return delivery
        return None

    def topology_due(self, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the broker has to get for exchanges and bindings that the client asked for."""
        return [wanted(self.tap.name, each, rewritten=self.tap.rewrites) for each in asked]

    def stale(self, key: Key) -> bool:
        """Whether the next delivery like this may never reach the client."""
        return key in self.pending and self.pending[key][0].stale > 0

    def forget_stale(self, recover: int) -> None:
        """The client was told that so many recovers are done: what comes now is newer."""
        for key in list(self.pending):
            kept = [each for each in self.pending[key] if not 0 < each.stale <= recover]
            if kept:
                self.pending[key] = kept
            else:
                del self.pending[key]


class Tap:
    """One link.  `up` gets the frames that trabbits sends, `down` those that have arrived at trabbits."""

    def __init__(self, name: str, ledger: Ledger, *, renames: bool, rewrites: bool) -> None:
        self.name = name
        self.rewrites = rewrites
        self._prefix = RENAMED if renames else ""
        self.ledger = ledger
        self.channels: dict[int, TapChannel] = {}
        self.own_channel = 0
        #: The channel of copies, 0 for none.
        self.mirror_channel = 0
        self._copies = Contents(f"t->u {name}, copies")
        self._last_copy: dict[int, int] = {}
        #: How many messages were published and delivered on it.
        self.published = self.delivered = 0
        #: Whether the link is neither lost nor being closed.
        self.live = True
        self._up = Contents(f"t->u {name}")
        self._down = Contents(f"t<-u {name}")

    # To the broker

    def up(self, frame: bytes) -> None:
        channel = frame[1] << 8 | frame[2]
        if channel in (0, self.own_channel):
            return
        if channel == self.mirror_channel:
            self._copied(frame)
            return
        if frame[0] == 1 and frame[7:11] == b"\x00\x14\x00\x0a":
            self.channels[channel] = TapChannel(self, channel)
            self._up.forget(channel)
            self._down.forget(channel)
            return
        whole = self._up.take(frame)
        if whole is None:
            return
        state = self.channels.get(channel)
        demand(state is not None, "channels", f"{self.name} gets a method on channel {channel} that is not open")
        assert state is not None
        index = whole.kind
        if index == PUBLISH:
            self._published(state, whole)
        elif index in (ACK, NACK, REJECT):
            self._settled(state, index, frame)
        else:
            self._asked(state, decoded(frame))

    def _published(self, state: TapChannel, whole: Whole) -> None:
        message = self.ledger.of(whole.header, f"sent to {self.name}")
        number = message.number
        self.published += 1
        demand(message.upstream == self.name, "right upstream", f"m{number} for {message.upstream} to {self.name}")
        demand(not message.carried, "published once", f"m{number} is sent twice")
        arguments = self._arguments(message, mandatory=message.mandatory)
        demand(whole.frame[11:-1] == arguments, "untouched", f"m{number} is sent as {describe(whole.frame)}")
        demand(whole.body == message.body, "untouched", f"m{number} is sent with another body")
        header = message.made(self._prefix, True)
        demand(whole.header == header, "untouched", f"m{number} is sent with other properties: {whole.header!r}")
        demand(number > state.last_message, "order", f"m{number} is sent behind m{state.last_message}")
        state.last_message = number
        message.carried = True
        if self._prefix and message.named != Named():
            self.ledger.count("headers renamed")
        if state.confirming is not None:
            state.published += 1
            state.confirming[state.published] = message

    def _arguments(self, message: Message, *, mandatory: bool) -> bytes:
        """The arguments of the publish that this link must get."""
        key = message.key if message.exchange else self._prefix + message.key
        return b"\x00\x00" + short(message.exchange) + short(key) + bytes((mandatory,))

    def _copied(self, frame: bytes) -> None:
        whole = self._copies.take(frame)
        if whole is None or whole.kind != PUBLISH:
            return
        message = self.ledger.of(whole.header, f"copied to {self.name}")
        where = f"m{message.number}, a copy for {self.name}"
        demand(message.upstream != self.name, "copies", f"{where}, is there already")
        demand(self.name not in message.copied, "copies", f"{where}, is sent twice")
        header = message.made(self._prefix, True)
        demand(whole.body == message.body and whole.header == header, "copies", f"{where}, was changed")
        arguments = self._arguments(message, mandatory=False)
        demand(whole.frame[11:-1] == arguments, "copies", f"{where}, is sent as {describe(whole.frame)}")
        last = self._last_copy.get(message.channel, 0)
        if message.transaction is None:
            demand(last < message.number, "copies", f"{where}, comes behind m{last}")
            self._last_copy[message.channel] = message.number
        message.copied.append(self.name)

    def _settled(self, state: TapChannel, index: int, frame: bytes) -> None:
        tag, flags = tag_at(frame), frame[19]
        multiple = bool(flags & 1) and index != REJECT
        requeue = index != ACK and bool(flags & (1 if index == REJECT else 2))
        intent = "ack" if index == ACK else "requeue" if requeue else "reject"
        unsettled = state.unsettled
        if requeue and not multiple and tag == state.coming:
            state.given_back = True
            self.ledger.count("held delivery given back")
            return
        if not state.mistaken:
            known = tag in unsettled or (multiple and not tag)
            demand(
                known, "settling", f"{intent} of tag {tag} on channel {state.number}, which {self.name} does not have"
            )
        covered = [each for each in unsettled if each == tag or (multiple and (each < tag or not tag))]
        for each in covered:
            delivery = unsettled.pop(each)
            number = delivery.message.number
            if delivery.intent is None and not delivery.reached and requeue:
                # Given back: the client shall not get it any more.
                key = delivery.consumer, number
                kept = [other for other in state.pending.get(key, ()) if other is not delivery]
                if kept:
                    state.pending[key] = kept
                else:
                    state.pending.pop(key, None)
                self.ledger.count("held delivery given back")
                if state.transaction is not None:
                    state.transaction[each] = delivery
                continue
            text = f"{intent} of m{number} (tag {each}) to {self.name}, but the client wants: {delivery.intent}"
            demand(intent in delivery.wished, "settling", text)
            if state.transaction is not None:
                state.transaction[each] = delivery

    def _asked(self, state: TapChannel, method: Any) -> None:
        if isinstance(method, Queue.Declare):
            state.last_queue = method.queue
        elif isinstance(method, METHODS):
            state.topology.append(as_clients_say(meant(method, state.last_queue), self._prefix))
            if self.rewrites:
                self.ledger.count(f"rewritten {method.name}")
        elif isinstance(method, Basic.Consume):
            state.consumers[(method.consumer_tag or "").encode()] = method.no_ack
        elif isinstance(method, Basic.Get):
            state.gets.append(method.no_ack)
        elif isinstance(method, Confirm.Select) and state.confirming is None:
            state.confirming = {}
        elif isinstance(method, Tx.Commit) or (isinstance(method, Tx.Select) and state.transaction is None):
            state.transaction = {}
        elif isinstance(method, Tx.Rollback) and state.transaction is not None:
            state.unsettled.update(state.transaction)
            state.unsettled = dict(sorted(state.unsettled.items()))
            state.transaction = {}
        elif isinstance(method, Channel.Close):
            state.live = False
        elif isinstance(method, Basic.RecoverAsync):
            self._recovered(state)

    # From the broker

    def down(self, frame: bytes) -> None:
        channel = frame[1] << 8 | frame[2]
        if channel in (0, self.own_channel, self.mirror_channel):
            return
        state = self.channels.get(channel)
        demand(state is not None, "model", f"{self.name} sent a method on channel {channel} that is not open")
        assert state is not None
        whole = self._down.take(frame)
        if whole is None:
            if frame[0] == 1:
                self._comes(state, frame)
            return
        index = whole.kind
        if index in (DELIVER, GET_OK):
            self._delivered(state, whole)
        elif index in (ACK, NACK):
            self._confirmed(state, frame, rejected=index == NACK)
        elif index == RETURN:
            method = decoded(whole.frame)
            message = self.ledger.of(whole.header, f"returned by {self.name}")
            message.returned = method.reply_code, method.reply_text
        else:
            self._answered(state, decoded(frame))

    def unheard(self, frame: bytes) -> None:
        """A frame that trabbits does not look at, because it closes the connection."""
        state = self.channels.get(frame[1] << 8 | frame[2])
        if state is not None and frame[0] == 1 and int.from_bytes(frame[7:11], "big") == Channel.Close.index:
            state.refused = True

    @staticmethod
    def _comes(state: TapChannel, frame: bytes) -> None:
        """The method of a message whose content follows."""
        index = int.from_bytes(frame[7:11], "big")
        if index in (DELIVER, GET_OK):
            state.coming = tag_at(frame, 11 if index == GET_OK else 12 + frame[11])
            state.given_back = False

    def _delivered(self, state: TapChannel, whole: Whole) -> None:
        frame = whole.frame
        state.coming = 0
        self.delivered += 1
        if whole.kind == GET_OK:
            consumer, at, no_ack = None, 11, state.gets.popleft()
        else:
            at = 12 + frame[11]
            consumer = frame[12:at]
            no_ack = state.consumers.get(consumer, False)
        tag = tag_at(frame, at)
        rest = frame[at + 8 : -5 if whole.kind == GET_OK else -1]
        exchange = rest[2 : 2 + rest[1]]
        if not exchange:
            # The default exchange: its key is a queue's name.
            rest = rest[:2] + short(rest[3:].decode().removeprefix(self._prefix))
        content = rest, seen(whole.header, exchange, self._prefix), whole.body
        if self._prefix and b"-death" in whole.header:
            self.ledger.count("dead letter with other names")
        demand(tag == state.last_tag + 1, "model", f"{self.name} sent tag {tag} behind {state.last_tag}")
        state.last_tag = tag
        message = self.ledger.of(whole.header, f"delivered by {self.name}")
        delivery = Delivery(state, tag, message, consumer, content, no_ack=no_ack)
        if state.given_back:
            state.given_back = False
            if state.transaction is not None:
                state.transaction[tag] = delivery
            return
        if not no_ack:
            state.unsettled[tag] = delivery
        state.pending.setdefault((consumer, message.number), []).append(delivery)

    def _confirmed(self, state: TapChannel, frame: bytes, *, rejected: bool) -> None:
        tag, multiple = tag_at(frame), bool(frame[19] & 1)
        assert state.confirming is not None
        for each in [each for each in state.confirming if each == tag or (multiple and each < tag)]:
            message = state.confirming.pop(each)
            if rejected:
                message.rejected = True
            else:
                message.confirmed = True

    def _answered(self, state: TapChannel, method: Any) -> None:
        if isinstance(method, Basic.RecoverOk):
            self._recovered(state)
        elif isinstance(method, Basic.GetEmpty):
            state.gets.popleft()
        elif isinstance(method, Channel.Close):
            state.live, state.refused = False, True
            unknown = "unknown delivery tag" in method.reply_text
            demand(state.mistaken or not unknown, "settling", f"{self.name} does not know a tag: {method.reply_text}")
            self.ledger.count(f"channel.close {method.reply_code} of a broker")
        elif isinstance(method, Channel.CloseOk):
            state.live = False

    def _recovered(self, state: TapChannel) -> None:
        state.recovers += 1
        for delivery in state.unsettled.values():
            demand(delivery.intent is None, "settling", f"m{delivery.message.number} was acknowledged, not passed on")
            delivery.stale = state.recovers
        state.unsettled.clear()
