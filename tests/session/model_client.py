"""The client of the model: asks for anything in any order, without waiting, and keeps accounts of what it gets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from tests.session.frames import Basic, Channel, Confirm, Queue, content, on
from tests.session.model import PIECE, QUEUE, Broker, Consumer, Peer

#: Exchange and routing key of all that comes.
ORIGINS = (("x", "k"), ("", QUEUE))


class ClientChannel:
    """What the client knows of one channel."""

    def __init__(self) -> None:
        self.open = False
        self.closing = False
        #: The replies it waits for, in order, and what each does.
        self.expected: deque[tuple[type[Any], Callable[[Any, bytes], None]]] = deque()
        self.consumers: dict[str, Consumer] = {}
        self.outstanding: dict[int, tuple[bytes, Consumer | None]] = {}
        self.last_tag = 0
        self.prefetch = 0
        #: The limits of the channel that may hold: the last one that was answered, and those asked for since.
        self.limits = [0]
        self.recovering = 0
        self.confirms = False
        self.published = 0
        self.unconfirmed: dict[int, bytes] = {}


class Client(Peer):
    """A client with some channels."""

    def __init__(self, random: Random, brokers: dict[str, Broker], numbers: Iterable[int]) -> None:
        super().__init__(random)
        self.brokers = brokers
        self.channels = {number: ClientChannel() for number in numbers}
        #: Whether channels may be closed with errors: then what was asked before may stay unanswered.
        self.trouble = False
        #: Names of upstreams that the session opened without: what is published to them is rejected.
        self.missing = ""
        self.bodies = 0
        self.delivered: list[bytes] = []
        self.errors = 0

    # What it gets

    def got(self, channel: int, method: Any, body: bytes) -> None:
        state = self.channels[channel]
        if isinstance(method, Channel.Close):
            self._closed_by_error(channel, state)
        elif isinstance(method, Basic.Deliver):
            self._delivered(state, method, body)
        elif isinstance(method, (Basic.Ack, Basic.Nack)):
            self._confirmed(state, method)
        elif isinstance(method, Basic.Cancel):
            del state.consumers[str(method.consumer_tag)]
        else:
            if self.trouble and isinstance(method, Channel.CloseOk):
                while state.expected[0][0] is not Channel.CloseOk:
                    state.expected.popleft()
            place = self._expected(state, method)
            _, act = state.expected[place]
            del state.expected[place]
            act(method, body)

    @staticmethod
    def _expected(state: ClientChannel, method: Any) -> int:
        """Which request this answers: the oldest, but for consumers', which may be late."""
        for place, (reply, _) in enumerate(state.expected):
            if isinstance(method, reply):
                return place
            late = (Basic.ConsumeOk, Basic.CancelOk)
            assert reply in late, f"{method.name} where {reply.__name__} was expected"
        raise AssertionError(f"{method.name} that nobody asked for")

    def _closed_by_error(self, channel: int, state: ClientChannel) -> None:
        self.errors += 1
        self.send(channel, on(channel, Channel.CloseOk()))
        if not state.closing:
            self.channels[channel] = ClientChannel()

    def _delivered(self, state: ClientChannel, method: Any, body: bytes) -> None:
        assert (method.exchange, method.routing_key) in ORIGINS
        consumer = state.consumers[method.consumer_tag]
        self._tag(state, method.delivery_tag, body, consumer, no_ack=consumer.no_ack)
        if not consumer.no_ack:
            consumer.unacked += 1
            assert not consumer.limit or consumer.unacked <= consumer.limit, "more than the consumer's window"
            counted = sum(each is not None for _, each in state.outstanding.values())
            assert 0 in state.limits or counted <= max(state.limits), "more than the channel's window"

    def _tag(self, state: ClientChannel, tag: int, body: bytes, consumer: Consumer | None, *, no_ack: bool) -> None:
        assert tag == state.last_tag + 1, "tags are one sequence"
        state.last_tag = tag
        self.delivered.append(body)
        if not no_ack:
            state.outstanding[tag] = (body, consumer)

    def _confirmed(self, state: ClientChannel, method: Any) -> None:
        tag = method.delivery_tag
        covered = [each for each in state.unconfirmed if each == tag or (method.multiple and each < tag)]
        assert tag in covered, "a confirm for nothing, or for the second time"
        for each in covered:
            body = state.unconfirmed.pop(each)
            accepted = any(body in broker.confirmed for broker in self.brokers.values())
            assert accepted == isinstance(method, Basic.Ack), "a confirm that is not true"

    # What it does

    def ask(self, channel: int, method: Any, reply: type[Any], act: Callable[[Any, bytes], None]) -> None:
        self.channels[channel].expected.append((reply, act))
        self.send(channel, on(channel, method))

    def act(self, channel: int) -> None:
        """Anything."""
        state = self.channels[channel]
        if not state.open:
            if not state.expected:
                self._open(channel, state)
            return
        if state.closing:
            return
        acts = [self._publish, self._publish, self._publish, self._settle, self._settle, self._settle, self._consume]
        acts += [self._cancel, self._qos, self._declare, self._get, self._recover, self._close]
        weights = [1.0] * (len(acts) - 3) + [0.6, 0.15, 0.1]
        self.random.choices(acts, weights)[0](channel, state)

    def _open(self, channel: int, state: ClientChannel) -> None:
        def opened(method: Any, body: bytes) -> None:
            state.open = True

        self.ask(channel, Channel.Open(), Channel.OpenOk, opened)
        if self.random.random() < 0.5:
            state.confirms = True
            self.ask(channel, Confirm.Select(), Confirm.SelectOk, _nothing)

    def _close(self, channel: int, state: ClientChannel) -> None:
        def closed(method: Any, body: bytes) -> None:
            self.channels[channel] = ClientChannel()

        state.closing = True
        self.ask(channel, Channel.Close(200, "bye", 0, 0), Channel.CloseOk, closed)

    def _publish(self, channel: int, state: ClientChannel) -> None:
        name = self.random.choice([*self.brokers, *(self.missing if state.confirms else "")])
        self.bodies += 1
        body = f"{name}{self.bodies}".encode() + b"." * self.random.randint(0, 20)
        if state.confirms:
            state.published += 1
            state.unconfirmed[state.published] = body
        publish = Basic.Publish(exchange=self.random.choice(["", "x"]), routing_key=name)
        self.send(channel, on(channel, publish) + content(channel, body, PIECE))

    def _settle(self, channel: int, state: ClientChannel) -> None:
        if state.recovering or not state.outstanding:
            return
        tag = self.random.choice(list(state.outstanding))
        multiple = self.random.random() < 0.3
        kinds = [Basic.Ack(tag, multiple), Basic.Nack(tag, multiple, self.random.random() < 0.5)]
        self._settled(state, tag, multiple)
        self.send(channel, on(channel, self.random.choices(kinds, [4, 1])[0]))

    def settle_all(self, channel: int) -> bool:
        """Acknowledge everything; False when there is nothing."""
        state = self.channels[channel]
        found = list(state.outstanding)
        if not found or state.recovering or state.closing:
            return False
        if self.random.random() < 0.5:
            self._settled(state, found[-1], True)
            self.send(channel, on(channel, Basic.Ack(found[-1], True)))
        else:
            for tag in found:
                self._settled(state, tag, False)
                self.send(channel, on(channel, Basic.Reject(tag, False)))
        return True

    @staticmethod
    def _settled(state: ClientChannel, tag: int, multiple: bool) -> None:
        for each in [each for each in state.outstanding if each == tag or (multiple and each < tag)]:
            _, consumer = state.outstanding.pop(each)
            if consumer is not None:
                consumer.unacked -= 1

    def _consume(self, channel: int, state: ClientChannel) -> None:
        tag = f"c{self.random.randint(1, 3)}"
        if tag in state.consumers:
            return
        no_ack = self.random.random() < 0.2
        state.consumers[tag] = Consumer(tag, no_ack, 0 if no_ack else state.prefetch)
        request = Basic.Consume(queue=QUEUE, consumer_tag=tag, no_ack=no_ack)
        self.ask(channel, request, Basic.ConsumeOk, _nothing)

    def _cancel(self, channel: int, state: ClientChannel) -> None:
        running = [consumer for consumer in state.consumers.values() if not consumer.cancelling]
        if not running:
            return
        consumer = self.random.choice(running)
        consumer.cancelling = True

        def cancelled(method: Any, body: bytes) -> None:
            # An upstream's cancel may have been first, and the tag used again.
            if state.consumers.get(consumer.tag) is consumer:
                del state.consumers[consumer.tag]

        self.ask(channel, Basic.Cancel(consumer.tag), Basic.CancelOk, cancelled)

    def _qos(self, channel: int, state: ClientChannel) -> None:
        count, whole = self.random.randint(0, 4), self.random.random() < 0.4
        if not whole:
            state.prefetch = count
            self.ask(channel, Basic.Qos(prefetch_count=count), Basic.QosOk, _nothing)
            return

        def changed(method: Any, body: bytes) -> None:
            state.limits.pop(0)

        state.limits.append(count)
        self.ask(channel, Basic.Qos(prefetch_count=count, global_=True), Basic.QosOk, changed)

    def _declare(self, channel: int, state: ClientChannel) -> None:
        self.ask(channel, Queue.Declare(queue=QUEUE), Queue.DeclareOk, _nothing)

    def _get(self, channel: int, state: ClientChannel) -> None:
        no_ack = self.random.random() < 0.2

        def got(method: Any, body: bytes) -> None:
            if isinstance(method, Basic.GetOk) and method.delivery_tag:
                assert (method.exchange, method.routing_key) in ORIGINS
                self._tag(state, method.delivery_tag, body, None, no_ack=no_ack)

        state.expected.append(((Basic.GetOk, Basic.GetEmpty), got))  # type: ignore[arg-type]  # isinstance takes both
        self.send(channel, on(channel, Basic.Get(queue=QUEUE, no_ack=no_ack)))

    def _recover(self, channel: int, state: ClientChannel) -> None:
        def recovered(method: Any, body: bytes) -> None:
            state.recovering -= 1
            state.outstanding.clear()
            for consumer in state.consumers.values():
                consumer.unacked = 0

        state.recovering += 1
        self.ask(channel, Basic.Recover(True), Basic.RecoverOk, recovered)


def _nothing(method: Any, body: bytes) -> None:
    """A reply that says no more than that."""
