"""Virtual hosts: exchanges and queues by name, and the way from one to the other.

Lives here: `VirtualHost`.  Must not know: connections, permissions, frames.

Source: AMQP 0-9-1 section 3.1; https://www.rabbitmq.com/docs/ae (alternate exchanges).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from trabbits.testing.broker.exchanges import TYPES, Binding, Exchange
from trabbits.testing.broker.message import Message
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.tables import Value

#: The exchanges that every virtual host has.
PREDECLARED: Final[dict[str, str]] = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.rabbitmq.trace": "topic",
}
#: Enough for a deployment with many keys; with more, routes are found anew now and then.
_ROUTES_MAX: Final = 1000

NO_HEADERS: Final[Mapping[str, Value]] = {}


class VirtualHost:
    """Queues and exchanges of one name space.

    `dead_letter` is called with (virtual host, queue, message, reason) for what a queue with a dead letter exchange
    drops.
    """

    def __init__(self, name: str, dead_letter: Callable[[VirtualHost, Queue, Message, str], None]) -> None:
        self.name = name
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {
            exchange: TYPES[kind](exchange, durable=True, internal=exchange == "amq.rabbitmq.trace")
            for exchange, kind in PREDECLARED.items()
        }
        #: Goes up whenever routes may have changed.
        self.version = 0
        self._dead_letter = dead_letter
        self._routes: dict[tuple[str, str], list[Queue]] = {}
        #: Whether headers decide about any route.
        self._by_headers = False

    def changed(self) -> None:
        """Routes are not what they were."""
        self.version += 1
        self._routes.clear()
        self._by_headers = any(exchange.by_headers and exchange.bindings for exchange in self.exchanges.values())

    # Routes

    def route(self, exchange: str, key: str, headers: Callable[[], Mapping[str, Value]]) -> list[Queue]:
        """The queues that a message gets to, each once.  The exchange must be there."""
        if self._by_headers:
            return self._find(exchange, key, headers())
        found = self._routes.get((exchange, key))
        if found is None:
            if len(self._routes) >= _ROUTES_MAX:
                self._routes.clear()
            found = self._routes[exchange, key] = self._find(exchange, key, NO_HEADERS)
        return found

    @property
    def routes_last(self) -> bool:
        """Whether a route found once is right for every message of the same exchange and key until a change."""
        return not self._by_headers

    def _find(self, exchange: str, key: str, headers: Mapping[str, Value]) -> list[Queue]:
        if not exchange:
            queue = self.queues.get(key)
            return [] if queue is None else [queue]
        queues: dict[Queue, None] = {}
        seen = {exchange}
        ahead = deque([self.exchanges[exchange]])
        while ahead:
            here = ahead.popleft()
            destinations = list(here.route(key, headers)) if here.name else [*filter(None, [self.queues.get(key)])]
            if not destinations:
                destinations = self._alternate(here)
            for destination in destinations:
                if isinstance(destination, Queue):
                    queues[destination] = None
                elif destination.name not in seen:
                    seen.add(destination.name)
                    ahead.append(destination)
        return list(queues)

    def _alternate(self, exchange: Exchange) -> list[Queue | Exchange]:
        name = exchange.arguments.get("alternate-exchange")
        alternate = self.exchanges.get(name.value) if name is not None else None
        return [] if alternate is None else [alternate]

    # Queues

    def add_queue(self, queue: Queue) -> None:
        if queue.settings.dead_letter_exchange is not None:
            queue.dead_letter = lambda source, message, reason: self._dead_letter(self, source, message, reason)
        self.queues[queue.name] = queue
        self.changed()
        queue.used()

    def delete_queue(self, queue: Queue) -> None:
        """Delete a queue and tell its consumers."""
        del self.queues[queue.name]
        consumers = list(queue.consumers)
        queue.delete()
        for consumer in consumers:
            consumer.channel.cancelled(consumer)
        self._unbound(queue)
        self.changed()

    def delete_if_unused(self, queue: Queue) -> None:
        """Delete an auto-delete queue whose last consumer is gone."""
        if queue.auto_delete and not queue.consumers and not queue.deleted:
            self.delete_queue(queue)

    # Exchanges

    def add_exchange(self, exchange: Exchange) -> None:
        self.exchanges[exchange.name] = exchange
        self.changed()

    def delete_exchange(self, exchange: Exchange) -> None:
        """Delete an exchange with its bindings, those that lead to it included."""
        del self.exchanges[exchange.name]
        exchange.bindings.clear()
        self._unbound(exchange)
        self.changed()

    def bind(self, source: Exchange, binding: Binding) -> None:
        source.bind(binding)
        self.changed()

    def unbind(self, source: Exchange, binding: Binding) -> None:
        """Take a binding away, and the exchange with it if it was the last one of an auto-delete exchange."""
        if source.unbind(binding):
            self._deleted_if_unused(source)
            self.changed()

    def _unbound(self, destination: Queue | Exchange) -> None:
        for exchange in list(self.exchanges.values()):
            if exchange.forget(destination):
                self._deleted_if_unused(exchange)

    def _deleted_if_unused(self, exchange: Exchange) -> None:
        if exchange.auto_delete and not exchange.bindings and self.exchanges.get(exchange.name) is exchange:
            self.delete_exchange(exchange)
