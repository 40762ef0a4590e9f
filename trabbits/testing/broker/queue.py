"""Queues: messages in order, given to consumers, taken back, dropped.

Lives here: `Queue`.  Must not know: names of exchanges, frames; how a consumer is told (`Channel.deliver`).

Source: https://www.rabbitmq.com/docs/queues, /ttl, /maxlength, /consumers (order, round robin, priorities).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import merge
from typing import TYPE_CHECKING

from trabbits.testing.broker.delivery_count import counted_once_more
from trabbits.testing.broker.message import Entry, Message
from trabbits.testing.broker.queue_arguments import QueueSettings, read_settings
from trabbits.testing.broker.tables import Table

if TYPE_CHECKING:
    from trabbits.testing.broker.connection import BrokerConnection
    from trabbits.testing.broker.consumers import Consumer
    from trabbits.testing.broker.memory import Memory
    from trabbits.testing.broker.timers import Timer, Timers


class Queue:
    """A queue.

    `ready` are the messages that wait, in order; `unacked` those that were given away and not settled, by position.
    `consumers` are all of them, `active` those that may be asked whether they can take one more.  `owner` is the
    connection that an exclusive queue belongs to.
    """

    def __init__(
        self,
        name: str,
        *,
        durable: bool,
        auto_delete: bool,
        owner: BrokerConnection | None,
        arguments: Table,
        clock: Callable[[], float],
        timers: Timers,
        memory: Memory,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments
        self.settings: QueueSettings = read_settings(arguments)
        self.ready: deque[Entry] = deque()
        self.unacked: dict[int, Entry] = {}
        self.consumers: list[Consumer] = []
        self.active: deque[Consumer] = deque()
        self.deleted = False
        #: Called with (queue, message, reason) for each message that is to be dead-lettered.
        self.dead_letter: Callable[[Queue, Message, str], None] | None = None
        #: Called when the queue was not used for as long as ``x-expires`` says.
        self.unused: Callable[[Queue], object] | None = None
        #: Octets of the bodies in `ready`.
        self.octets = 0
        bounded = self.settings.max_length is not None or self.settings.max_octets is not None
        self._rejects = bounded and self.settings.overflow != "drop-head"
        self._drops = bounded and not self._rejects
        self._position = 0
        self._clock = clock
        self._timers = timers
        self._memory = memory
        self._expiry: Timer | None = None
        self._idle: Timer | None = None
        self._last_use = 0.0

    # Messages come in

    def publish(self, message: Message, ttl: float | None) -> bool:
        """Take a message that may live for `ttl` seconds; False if the queue is full and refuses it."""
        if self._rejects and self._over(len(self.ready) + 1, self.octets + len(message.body)):
            if self.settings.overflow == "reject-publish-dlx" and self.dead_letter is not None:
                self.dead_letter(self, message, "maxlen")
            return False
        own = self.settings.message_ttl
        if own is not None and (ttl is None or own < ttl):
            ttl = own
        entry = Entry(message, self._position, None if ttl is None else self._clock() + ttl)
        self._position += 1
        self._memory.used += message.size
        ready = self.ready
        if self.active and not ready:
            consumer = self._next_consumer()
            if consumer is not None:
                self._give(consumer, entry)
                return True
        ready.append(entry)
        self.octets += len(message.body)
        if self.active:
            self.pump()
        if ttl is not None and ready and ready[0] is entry:
            self._watch_head()
        if self._drops:
            self._trim()
        return True

    def requeue(self, entries: Sequence[Entry]) -> None:
        """Take back what was given away, each to where it was; the entries are in order of their positions."""
        ready = self.ready
        for entry in entries:
            del self.unacked[entry.position]
            entry.redelivered = True
            if self.settings.quorum:
                self._memory.used -= entry.message.size
                entry.message = counted_once_more(entry.message)
                self._memory.used += entry.message.size
            self.octets += len(entry.message.body)
        if not ready or entries[-1].position < ready[0].position:
            ready.extendleft(reversed(entries))
        else:
            merged = list(merge(ready, entries, key=lambda entry: entry.position))
            ready.clear()
            ready.extend(merged)
        self.pump()
        self._drop_expired()
        # What refuses new messages never drops those that it has taken, even if there are too many now.
        if self._drops:
            self._trim()

    # Messages go out

    def pump(self) -> None:
        """Give what is ready to the consumers that can take it."""
        ready = self.ready
        while ready:
            entry = ready[0]
            if entry.expires is not None and entry.expires <= self._clock():
                self._drop_head("expired")
                continue
            consumer = self._next_consumer()
            if consumer is None:
                return
            ready.popleft()
            self.octets -= len(entry.message.body)
            self._give(consumer, entry)

    def get(self, keep: bool) -> Entry | None:
        """The first message that is ready; if `keep`, it is unsettled from now on."""
        self._drop_expired()
        self.used()
        if not self.ready:
            return None
        entry = self.ready.popleft()
        self.octets -= len(entry.message.body)
        if keep:
            self.unacked[entry.position] = entry
        else:
            self._memory.used -= entry.message.size
        self._drop_expired()
        return entry

    def settle(self, entry: Entry) -> None:
        """A message was acknowledged."""
        if self.unacked.pop(entry.position, None) is not None:
            self._memory.used -= entry.message.size

    def discard(self, entry: Entry) -> None:
        """A message was rejected and shall not come again."""
        if self.unacked.pop(entry.position, None) is not None:
            self._memory.used -= entry.message.size
            if self.dead_letter is not None:
                self.dead_letter(self, entry.message, "rejected")

    def purge(self) -> int:
        """Drop what is ready; how many messages that were."""
        count = len(self.ready)
        self._memory.used -= sum(entry.message.size for entry in self.ready)
        self.ready.clear()
        self.octets = 0
        return count

    # Consumers

    def add(self, consumer: Consumer) -> None:
        """A consumer has come; it gets messages when it is told of by `pump`."""
        self.consumers.append(consumer)
        if self.settings.single_active and self.consumers[0] is not consumer:
            consumer.waiting = True
        else:
            self._enter(consumer)
        self.used()

    def remove(self, consumer: Consumer) -> None:
        """A consumer is gone; what it was given is still unsettled."""
        self.consumers.remove(consumer)
        if not consumer.waiting:
            self.active.remove(consumer)
        consumer.waiting = False
        if self.settings.single_active and self.consumers:
            self.resume(self.consumers[0])
        self.used()

    def resume(self, consumer: Consumer) -> None:
        """Look at a consumer again that could not take anything.  The caller pumps."""
        if not consumer.waiting or (self.settings.single_active and self.consumers[0] is not consumer):
            return
        if consumer.can_take():
            consumer.waiting = False
            self._enter(consumer)

    def _enter(self, consumer: Consumer) -> None:
        """Behind all consumers that are as important."""
        active = self.active
        place = len(active)
        while place and active[place - 1].priority < consumer.priority:
            place -= 1
        active.insert(place, consumer)

    def _next_consumer(self) -> Consumer | None:
        active = self.active
        while active:
            consumer = active[0]
            if consumer.can_take():
                return consumer
            active.popleft()
            consumer.waiting = True
        return None

    def _give(self, consumer: Consumer, entry: Entry) -> None:
        if len(self.active) > 1:
            self._enter(self.active.popleft())
        if consumer.no_ack:
            self._memory.used -= entry.message.size
        else:
            self.unacked[entry.position] = entry
            consumer.unacked += 1
        consumer.channel.deliver(consumer, entry)

    # Bounds and times

    def delete(self) -> None:
        """Forget everything; the virtual host has forgotten the queue."""
        self.deleted = True
        self.purge()
        self._memory.used -= sum(entry.message.size for entry in self.unacked.values())
        self.unacked.clear()
        self.active.clear()
        for consumer in self.consumers:
            consumer.waiting = False
        self.consumers.clear()
        for timer in (self._expiry, self._idle):
            if timer is not None:
                timer.cancel()

    def used(self) -> None:
        """The time until an unused queue is deleted begins anew, or stops while there are consumers."""
        if self.settings.expires is not None and not self.deleted:
            self._last_use = self._clock()
            if self._idle is None and not self.consumers:
                self._idle = self._timers.at(self._last_use + self.settings.expires, self._look_for_use)

    def _look_for_use(self) -> None:
        # One timer at a time: a queue that is used all the time would leave many behind.
        self._idle = None
        expires = self.settings.expires
        if self.consumers or expires is None:
            return
        if self._last_use + expires > self._clock():
            self._idle = self._timers.at(self._last_use + expires, self._look_for_use)
        elif self.unused is not None:
            self.unused(self)

    def _over(self, count: int, octets: int) -> bool:
        settings = self.settings
        return (settings.max_length is not None and count > settings.max_length) or (
            settings.max_octets is not None and octets > settings.max_octets
        )

    def _trim(self) -> None:
        while self.ready and self._over(len(self.ready), self.octets):
            self._drop_head("maxlen")
        self._watch_head()

    def _drop_head(self, reason: str) -> None:
        entry = self.ready.popleft()
        self.octets -= len(entry.message.body)
        self._memory.used -= entry.message.size
        if self.dead_letter is not None:
            self.dead_letter(self, entry.message, reason)

    def _drop_expired(self) -> None:
        """Messages expire at the head only, as in RabbitMQ: one with a short life waits behind one with a long one."""
        while self.ready:
            expires = self.ready[0].expires
            if expires is None or expires > self._clock():
                break
            self._drop_head("expired")
        self._watch_head()

    def _watch_head(self) -> None:
        expires = self.ready[0].expires if self.ready else None
        if expires is None:
            return
        if self._expiry is not None:
            if self._expiry.act is not None and self._expiry.at <= expires:
                return
            self._expiry.cancel()
        self._expiry = self._timers.at(expires, self._drop_expired)
