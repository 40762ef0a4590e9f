"""The broker: virtual hosts, users, connections, and the time.

Lives here: `Broker`.  Must not know: frames, sockets, Twisted.

The broker does nothing by itself: octets come in through `BrokerConnection.received`, and whoever surrounds it calls
`advance` when `next_timer` says so.  It reads no clock and draws no random numbers but those it is given, so the same
calls in the same order give the same octets.
"""

from __future__ import annotations

import base64
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from trabbits.testing.broker.connection import BrokerConnection
from trabbits.testing.broker.dead_letters import dead_letter, deaths, has_speakable_key, is_cycle
from trabbits.testing.broker.fault_plan import Faults
from trabbits.testing.broker.limits import Limits
from trabbits.testing.broker.line import Line
from trabbits.testing.broker.memory import Memory
from trabbits.testing.broker.message import Message
from trabbits.testing.broker.permissions import User
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.reply_to import ReplyConsumers
from trabbits.testing.broker.timers import Timers
from trabbits.testing.broker.vhost import VirtualHost

#: What RabbitMQ 3.10 can do and this broker can as well.
CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)


class Broker:
    """An AMQP 0-9-1 broker in memory, for trying and testing.

    `users` by name (by default guest, password guest, who may do everything) and `vhosts` can be changed at any time
    (`users`, `add_vhost`, `delete_vhost`).  `clock` gives seconds, `random` the names of queues and consumers that have
    none; without one they follow from the broker's name.  `properties` are added to the server properties.  `faults`
    are what may go wrong with its connections.
    """

    def __init__(
        self,
        name: str = "embedded",
        *,
        users: Mapping[str, User] | None = None,
        vhosts: Iterable[str] = ("/",),
        clock: Callable[[], float] = lambda: 0.0,
        random: random.Random | None = None,
        version: str = "3.10.8",
        properties: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.name = name
        self.users: dict[str, User] = dict(users) if users is not None else {"guest": User("guest")}
        self.clock = clock
        self.limits = limits or Limits()
        self.faults = faults
        self.timers = Timers()
        self.memory = Memory(self.limits.memory, self._alarm_on, self._alarm_off)
        self.vhosts: dict[str, VirtualHost] = {}
        self.connections: dict[BrokerConnection, None] = {}
        self.reply_consumers = ReplyConsumers()
        self.properties = {
            "product": "RabbitMQ",
            "version": version,
            "platform": "trabbits embedded broker",
            "information": "Not RabbitMQ: a broker in memory for trying and testing. It keeps nothing on disk.",
            "copyright": "See https://www.rabbitmq.com for the real one",
            "cluster_name": name,
            "capabilities": dict.fromkeys(CAPABILITIES, True),
            **(properties or {}),
        }
        #: Why publishers are held up: a reason of the host's, or the memory alarm.
        self.blocked: str | None = None
        self._host_reason: str | None = None
        self._random = random if random is not None else _random_of(name)
        self._dead: deque[tuple[VirtualHost, Queue, Message, str]] = deque()
        for vhost in vhosts:
            self.add_vhost(vhost)

    # What surrounds the broker

    def connect(self, address: str, wake: Callable[[], None]) -> BrokerConnection:
        """A client has connected from `address`.

        `wake` is called when there is output although the connection was given nothing, once until the output was
        taken.  It must not call the broker.
        """
        connection = BrokerConnection(self, address, wake)
        self.connections[connection] = None
        connection.blocking_changed()
        return connection

    def accept(self, address: str, wake: Callable[[], None]) -> BrokerConnection | Line:
        """The same by way of the broker's `faults`, if it has any: the line to the connection."""
        if self.faults is None:
            return self.connect(address, wake)
        return self.faults.connect(self, address, wake)

    def advance(self) -> None:
        """Do what is due by the clock."""
        self.timers.run(self.clock())
        self.finish()

    def next_timer(self) -> float | None:
        """The time of the clock at which `advance` has something to do, None if never."""
        return self.timers.next()

    # What it holds

    def vhost(self, name: str = "/") -> VirtualHost:
        """The virtual host of this name.  Raises `KeyError`."""
        return self.vhosts[name]

    def add_vhost(self, name: str) -> VirtualHost:
        """The virtual host of this name, made if it is not there."""
        if name not in self.vhosts:
            self.vhosts[name] = VirtualHost(name, self._bury)
        return self.vhosts[name]

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all it holds; its connections are closed (320)."""
        vhost = self.vhosts.pop(name)
        for connection in list(self.connections):
            if connection.vhost is vhost:
                connection.force_close(f"vhost '{name}' is deleted")
        for queue in list(vhost.queues.values()):
            vhost.delete_queue(queue)
        self.finish()

    def block(self, reason: str) -> None:
        """Hold up connections that publish, as an alarm does, until `unblock`."""
        self._host_reason = reason
        self._blocking_changed()

    def unblock(self) -> None:
        self._host_reason = None
        self._blocking_changed()
        self.finish()

    # For its parts

    def unique_name(self, prefix: str) -> str:
        """A name that nothing else has, as RabbitMQ makes them: ``amq.gen-JzTY20BRgKO-HjmUJj0wLg``."""
        return f"{prefix}-{base64.urlsafe_b64encode(self._random.randbytes(16)).decode().rstrip('=')}"

    def finish(self) -> None:
        """What is to be done after everything else: dead letters, and the memory alarm."""
        self._publish_dead_letters()
        # The end of an alarm lets in what was held up.
        while self.memory.check():
            self._publish_dead_letters()

    def forget(self, connection: BrokerConnection) -> None:
        self.connections.pop(connection, None)

    def _publish_dead_letters(self) -> None:
        while self._dead:
            vhost, queue, message, reason = self._dead.popleft()
            name = queue.settings.dead_letter_exchange
            exchange = vhost.exchanges.get(name) if name is not None else None
            if exchange is None or not has_speakable_key(queue):
                continue
            letter, keys = dead_letter(queue, message, reason, self.clock())
            queues: dict[Queue, None] = {}
            for key in keys:
                queues.update(dict.fromkeys(vhost.route(exchange.name, key, letter.headers)))
            history = deaths(letter) if reason != "rejected" else []
            for target in queues:
                if not is_cycle(target.name, history):
                    target.publish(letter, None)

    def _bury(self, vhost: VirtualHost, queue: Queue, message: Message, reason: str) -> None:
        # Not at once: a queue would be changed by what it does itself.
        self._dead.append((vhost, queue, message, reason))

    def _alarm_on(self) -> None:
        self._blocking_changed()

    def _alarm_off(self) -> None:
        self._blocking_changed()

    def _blocking_changed(self) -> None:
        self.blocked = self._host_reason or ("low on memory" if self.memory.high else None)
        for connection in list(self.connections):
            connection.blocking_changed()


def _random_of(name: str) -> random.Random:
    return random.Random(name)
