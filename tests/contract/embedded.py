"""The embedded broker as a node: in a thread with a reactor of its own, with what the tests ask of a RabbitMQ node.

`NOT_APPLICABLE` is the one place that says which contract tests do not run against it, and why; its documentation
(docs/testing/embedded-broker.md) has the same list in words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.threads import blockingCallFromThread

from trabbits.testing.broker import Broker, Permissions, User
from trabbits.testing.broker.exchanges import Exchange
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.server import BrokerServer
from trabbits.testing.broker.tables import Table, Value, read_table
from trabbits.testing.broker.vhost import VirtualHost

T = TypeVar("T")
Item = dict[str, Any]

#: Tests of what the embedded broker does not have, by name.
NOT_APPLICABLE = {
    "test_a_stream_is_read_from_its_beginning_again_and_again": "it has no streams",
    "test_a_client_that_reads_late_gets_everything_in_order": "it delivers no more than a client reads, "
    "and that test waits for the queues to be empty; see tests/testing/broker/test_server.py",
    "test_more_important_messages_overtake_others_of_their_upstream": "it has no priority queues",
}


class EmbeddedNode:
    """An embedded broker on a free port, until `close`.  Its methods may be called from any thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self._reactor: Any = EPollReactor()
        self.broker = Broker(name, clock=self._reactor.seconds)
        self.management = EmbeddedManagement(self)
        self._server = BrokerServer(self.broker, self._reactor)
        self._thread = threading.Thread(target=self._reactor.run, args=(False,), daemon=True)
        self._paused: threading.Event | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> EmbeddedNode:
        """Listen; it answers when this returns."""
        self._thread.start()
        self.port = self.call(self._server.listen)
        return self

    def close(self) -> None:
        """End it."""
        self.resume()
        self.call(self._server.stop)
        self._reactor.callFromThread(self._reactor.stop)
        self._thread.join(10)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function gives, called in the broker's thread."""
        return blockingCallFromThread(self._reactor, function, *args)

    def act(self, function: Callable[..., Any], *args: Any) -> Any:
        """The same for what may give clients something to hear."""

        def acting() -> Any:
            result = function(*args)
            self._server.factory.settle()
            return result

        return self.call(acting)

    def pause(self) -> None:
        """Do nothing at all until `resume`, as if frozen."""
        self._paused = threading.Event()
        self._reactor.callFromThread(self._paused.wait, 60)

    def resume(self) -> None:
        if self._paused is not None:
            self._paused.set()
            self._paused = None

    def ctl(self, *arguments: str) -> str:
        """What tests ask of rabbitmqctl: an alarm, by a watermark of 0, and its end."""
        command, value = arguments
        assert command == "set_vm_memory_high_watermark", arguments
        if value == "0":
            self.act(self.broker.block, "low on memory")
        else:
            self.act(self.broker.unblock)
        return ""


class EmbeddedManagement:
    """What the tests use of RabbitMQ's HTTP API, asked of the broker itself."""

    def __init__(self, node: EmbeddedNode) -> None:
        self._node = node

    @property
    def _broker(self) -> Broker:
        return self._node.broker

    def add_vhost(self, name: str, user: str = "guest") -> None:
        self._node.call(self._broker.add_vhost, name)
        if user != "guest":
            self.set_permissions(name, user)

    def delete_vhost(self, name: str) -> None:
        self._node.act(self._broker.delete_vhost, name)

    def add_user(self, name: str, password: str, tags: str = "") -> None:
        self._node.call(self._broker.users.__setitem__, name, User(password, {}))

    def delete_user(self, name: str) -> None:
        self._node.call(self._broker.users.pop, name)

    def set_permissions(
        self, vhost: str, user: str, configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        def permit() -> None:
            old = self._broker.users[user]
            permissions = {**(old.permissions or {}), vhost: Permissions(configure, write, read)}
            self._broker.users[user] = User(old.password, permissions)

        self._node.call(permit)

    def connections(self, vhost: str | None = None) -> list[Item]:
        def list_them() -> list[Item]:
            return [
                {
                    "name": connection.address,
                    "user": connection.user_name,
                    "vhost": connection.vhost.name,
                    "channels": len(connection.channels),
                    "client_properties": plain(connection.client_properties),
                }
                for connection in self._broker.connections
                if connection.vhost is not None and vhost in (None, connection.vhost.name)
            ]

        found: list[Item] = self._node.call(list_them)
        return found

    def close_connection(self, name: str, reason: str = "closed by a test") -> None:
        def close() -> None:
            for connection in list(self._broker.connections):
                if connection.address == name:
                    connection.force_close(reason)

        self._node.act(close)

    def queue(self, vhost: str, name: str) -> Item | None:
        return self._described(vhost, lambda there: there.queues.get(name))

    def exchange(self, vhost: str, name: str) -> Item | None:
        return self._described(vhost, lambda there: there.exchanges.get(name))

    def delete_queue(self, vhost: str, name: str) -> None:
        def delete() -> None:
            there = self._broker.vhost(vhost)
            there.delete_queue(there.queues[name])

        self._node.act(delete)

    def bindings(self, vhost: str, queue: str) -> list[Item]:
        def list_them() -> list[Item]:
            there = self._broker.vhost(vhost)
            found: list[Item] = [{"source": "", "routing_key": queue, "arguments": {}}]
            for exchange in there.exchanges.values():
                found += [
                    {
                        "source": exchange.name,
                        "routing_key": binding.key,
                        "arguments": plain(binding.arguments),
                    }
                    for binding in exchange.bindings
                    if binding.destination is there.queues[queue]
                ]
            return found

        found: list[Item] = self._node.call(list_them)
        return found

    def _described(self, vhost: str, find: Callable[[VirtualHost], Queue | Exchange | None]) -> Item | None:
        def describe() -> Item | None:
            found = find(self._broker.vhost(vhost))
            if found is None:
                return None
            item: Item = {
                "name": found.name,
                "durable": found.durable,
                "auto_delete": found.auto_delete,
                "arguments": plain(found.arguments),
            }
            if isinstance(found, Queue):
                return {**item, "exclusive": found.owner is not None}
            return {**item, "type": found.kind, "internal": found.internal}

        item: Item | None = self._node.call(describe)
        return item


def plain(table: Table) -> dict[str, Any]:
    """A table as Python values."""
    return {name: _plain(value) for name, value in table.items()}


def _plain(value: Value) -> Any:
    return plain(read_table(value.value)) if value.kind == "table" else value.value
