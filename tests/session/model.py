"""Both ends of a session as naive models: brokers that deliver and confirm, a client that keeps accounts.

Each checks what it is sent as a strict peer would: a broker knows every tag that is acknowledged, a client gets tags
one after the other, never holds more than its windows allow, and is told of each confirm once and truly.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from tests.session.frames import Basic, Channel, Confirm, Queue, content, decoded, on, split

QUEUE = "q"
#: Octets of payload in body frames: nearly every message has several.
PIECE = 7


class Peer:
    """What both have in common: frames that wait per channel, and contents that are put together."""

    def __init__(self, random: Random) -> None:
        self.random = random
        #: Octets that were sent and are on their way, in order.
        self.wire = b""
        self._frames: dict[int, deque[bytes]] = {}
        self._under_way: dict[int, list[bytes]] = {}

    def send(self, channel: int, octets: bytes) -> None:
        """Send frames; those of different channels may be mixed."""
        self._frames.setdefault(channel, deque()).extend(split(octets))

    @property
    def pending(self) -> bool:
        """Whether anything is on its way."""
        return bool(self.wire) or any(self._frames.values())

    def chunk(self) -> bytes:
        """The next octets, cut anywhere."""
        waiting = [frames for frames in self._frames.values() if frames]
        for _ in range(self.random.randint(1, 6)):
            if waiting:
                frames = self.random.choice(waiting)
                self.wire += frames.popleft()
                waiting = [each for each in waiting if each]
        size = self.random.choice([len(self.wire), self.random.randint(0, len(self.wire))])
        taken, self.wire = self.wire[:size], self.wire[size:]
        return taken

    def receive(self, frames: list[bytes]) -> None:
        """Take frames that came."""
        for octets in frames:
            channel = int.from_bytes(octets[1:3], "big")
            if octets[0] == 1:
                if octets[7:11] in (b"\0\x3c\0\x28", b"\0\x3c\0\x3c", b"\0\x3c\0\x47"):
                    self._under_way[channel] = [octets]
                else:
                    self.got(channel, decoded(octets), b"")
                continue
            parts = self._under_way[channel]
            parts.append(octets)
            body = b"".join(part[7:-1] for part in parts[2:])
            if len(body) == int.from_bytes(parts[1][11:19], "big"):
                del self._under_way[channel]
                self.got(channel, decoded(parts[0]), body)

    def got(self, channel: int, method: Any, body: bytes) -> None:
        """A whole method, with its body if it has one."""
        raise NotImplementedError


class Consumer:
    """A consumer on one channel; `limit` is its prefetch count, 0 for none."""

    def __init__(self, tag: str, no_ack: bool, limit: int) -> None:
        self.tag = tag
        self.no_ack = no_ack
        self.limit = limit
        self.unacked = 0
        self.cancelling = False


class BrokerChannel:
    """A channel of a broker."""

    def __init__(self) -> None:
        self.consumers: dict[str, Consumer] = {}
        self.unacked: dict[int, tuple[bytes, Consumer | None]] = {}
        self.last_tag = 0
        self.prefetch = 0
        self.limit = 0
        self.confirms = False
        self.published = 0
        self.unconfirmed: dict[int, bytes] = {}
        self.closing = False


class Broker(Peer):
    """One queue, which it may call differently than the client, and the channels of one link."""

    def __init__(self, name: str, random: Random, prefix: str = "") -> None:
        super().__init__(random)
        self.name = name
        #: What stands before the client's names of queues.
        self.prefix = prefix
        self.channels: dict[int, BrokerChannel] = {}
        self.queue: deque[bytes] = deque()
        #: Every message that came, and those whose story is over.
        self.accepted: list[bytes] = []
        self.gone: list[bytes] = []
        self.confirmed: set[bytes] = set()

    def got(self, channel: int, method: Any, body: bytes) -> None:
        state = self.channels.get(channel)
        if isinstance(method, Channel.Open):
            assert state is None, "a channel is opened twice"
            self.channels[channel] = BrokerChannel()
            self.send(channel, on(channel, Channel.OpenOk()))
            return
        assert state is not None, f"{method.name} on a channel that is not open"
        if isinstance(method, Channel.Close):
            self.send(channel, on(channel, Channel.CloseOk()))
            if not state.closing:
                self._requeue(state)
                del self.channels[channel]
        elif state.closing:
            if isinstance(method, Channel.CloseOk):
                del self.channels[channel]
        else:
            getattr(self, "_" + method.name.split(".")[1].lower())(channel, state, method, body)

    def _requeue(self, state: BrokerChannel) -> None:
        self.queue.extendleft(body for body, _ in reversed(state.unacked.values()))
        state.unacked.clear()

    def _declare(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        assert method.queue == self.prefix + QUEUE
        self.send(channel, on(channel, Queue.DeclareOk(method.queue, len(self.queue), len(state.consumers))))

    def _flow(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        self.send(channel, on(channel, Channel.FlowOk(method.active)))

    def _qos(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        if method.global_:
            state.limit = method.prefetch_count
        else:
            state.prefetch = method.prefetch_count
        self.send(channel, on(channel, Basic.QosOk()))

    def _select(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        state.confirms = True
        self.send(channel, on(channel, Confirm.SelectOk()))

    def _consume(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        assert method.queue == self.prefix + QUEUE
        assert method.consumer_tag not in state.consumers
        state.consumers[method.consumer_tag] = Consumer(method.consumer_tag, method.no_ack, state.prefetch)
        self.send(channel, on(channel, Basic.ConsumeOk(method.consumer_tag)))

    def _cancel(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        state.consumers.pop(method.consumer_tag, None)
        self.send(channel, on(channel, Basic.CancelOk(method.consumer_tag)))

    def _recover(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        self._requeue(state)
        for consumer in state.consumers.values():
            consumer.unacked = 0
        self.send(channel, on(channel, Basic.RecoverOk()))

    def _publish(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        name = self.name if method.exchange else self.prefix + self.name
        assert method.routing_key == name, "a message went to the wrong link"
        self.accepted.append(body)
        self.queue.append(body)
        if state.confirms:
            state.published += 1
            state.unconfirmed[state.published] = body

    def _get(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        assert method.queue == self.prefix + QUEUE
        if not self.queue:
            self.send(channel, on(channel, Basic.GetEmpty()))
            return
        message = self.queue.popleft()
        tag = self._tag(state, message, None, no_ack=method.no_ack)
        reply = Basic.GetOk(tag, False, *self._origin(), len(self.queue))
        self.send(channel, on(channel, reply) + content(channel, message, PIECE))

    def _ack(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        self._settled(state, method.delivery_tag, method.multiple, requeue=False)

    def _nack(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        self._settled(state, method.delivery_tag, method.multiple, requeue=method.requeue)

    def _reject(self, channel: int, state: BrokerChannel, method: Any, body: bytes) -> None:
        self._settled(state, method.delivery_tag, False, requeue=method.requeue)

    def _settled(self, state: BrokerChannel, tag: int, multiple: bool, *, requeue: bool) -> None:
        assert tag in state.unacked, f"{self.name}: unknown delivery tag {tag}"
        for each in [each for each in state.unacked if each == tag or (multiple and each < tag)]:
            body, consumer = state.unacked.pop(each)
            if consumer is not None:
                consumer.unacked -= 1
            if requeue:
                self.queue.append(body)
            else:
                self.gone.append(body)

    def _tag(self, state: BrokerChannel, message: bytes, consumer: Consumer | None, *, no_ack: bool) -> int:
        state.last_tag += 1
        if no_ack:
            self.gone.append(message)
        else:
            state.unacked[state.last_tag] = (message, consumer)
            if consumer is not None:
                consumer.unacked += 1
        return state.last_tag

    def _origin(self) -> tuple[str, str]:
        """Exchange and routing key that a message came with."""
        return ("x", "k") if self.random.random() < 0.5 else ("", self.prefix + QUEUE)

    # What a broker does by itself

    def deliver(self) -> bool:
        """Deliver one message to a consumer that may have it; False when there is none."""
        ready = [
            (number, state, consumer)
            for number, state in self.channels.items()
            if not state.closing
            for consumer in state.consumers.values()
            if consumer.no_ack or _room(state, consumer)
        ]
        if not self.queue or not ready:
            return False
        channel, state, consumer = self.random.choice(ready)
        message = self.queue.popleft()
        tag = self._tag(state, message, consumer, no_ack=consumer.no_ack)
        delivery = Basic.Deliver(consumer.tag, tag, False, *self._origin())
        self.send(channel, on(channel, delivery) + content(channel, message, PIECE))
        return True

    def confirm(self) -> bool:
        """Confirm some publishes; False when there are none."""
        waiting = [
            (number, state) for number, state in self.channels.items() if state.unconfirmed and not state.closing
        ]
        if not waiting:
            return False
        channel, state = self.random.choice(waiting)
        tag = self.random.choice(list(state.unconfirmed))
        multiple = self.random.random() < 0.4
        rejected = self.random.random() < 0.1
        for each in [each for each in state.unconfirmed if each == tag or (multiple and each < tag)]:
            body = state.unconfirmed.pop(each)
            if not rejected:
                self.confirmed.add(body)
        self.send(channel, on(channel, Basic.Nack(tag, multiple, False) if rejected else Basic.Ack(tag, multiple)))
        return True

    def cancel(self) -> None:
        """Cancel a consumer, as when its queue is deleted."""
        for channel, state in self.channels.items():
            if state.consumers and not state.closing:
                tag = self.random.choice(list(state.consumers))
                del state.consumers[tag]
                self.send(channel, on(channel, Basic.Cancel(tag, True)))
                return

    def close(self) -> None:
        """Close a channel with an error."""
        for channel, state in self.channels.items():
            if not state.closing:
                state.closing = True
                self._requeue(state)
                self.send(channel, on(channel, Channel.Close(404, "NOT_FOUND - gone", 0, 0)))
                return


def _room(state: BrokerChannel, consumer: Consumer) -> bool:
    everybody = sum(consumer is not None for _, consumer in state.unacked.values())
    return not (consumer.limit and consumer.unacked >= consumer.limit) and not (
        state.limit and everybody >= state.limit
    )
